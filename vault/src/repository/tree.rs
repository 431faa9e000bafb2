//! Trees: directories as restic writes them.
//!
//! JSON with one node a name, sorted by name, ended by a line feed (restic `internal/restic`,
//! `Tree`, `Node`). Names are quoted as Go's `strconv.Quote` does, then once more as JSON, so that
//! any bytes can be a name; `<`, `>` and `&` are escaped as Go's encoder does, because equal
//! directories must come to equal bytes whoever writes them. An empty file has `"content":[]`, a
//! directory `"content":null`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Result, VaultError};
use crate::id::Id;

/// Go's `os.ModeDir`.
const MODE_DIR: u32 = 1 << 31;
/// Go's bits for set-user-id, set-group-id and sticky, beside those of `chmod`.
const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];

/// A directory.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree {
    /// Its entries; `null` stands for none in some old ones.
    #[serde(deserialize_with = "null_is_empty")]
    pub(crate) nodes: Vec<Node>,
}

/// One entry. Fields of restic's that we have no use for are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Quoted; see [`Node::name`].
    #[serde(rename = "name")]
    quoted_name: String,
    /// `file`, `dir`, `symlink`, ...
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    mode: u32,
    #[serde(default = "zero_time")]
    pub(crate) mtime: Timestamp,
    #[serde(default = "zero_time")]
    atime: Timestamp,
    #[serde(default = "zero_time")]
    ctime: Timestamp,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    links: u64,
    #[serde(default)]
    pub(crate) content: Option<Vec<Id>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subtree: Option<Id>,
}

impl Node {
    /// A file of `size` bytes with these chunks.
    pub(crate) fn file(
        name: &str,
        meta: &super::options::FileMeta,
        size: u64,
        content: Vec<Id>,
    ) -> Node {
        Node {
            quoted_name: quote(name),
            kind: "file".to_owned(),
            mode: go_mode(meta.mode),
            mtime: meta.mtime,
            atime: meta.mtime,
            ctime: meta.mtime,
            uid: meta.uid,
            gid: meta.gid,
            user: meta.user.clone(),
            group: meta.group.clone(),
            size,
            links: 1,
            content: Some(content),
            subtree: None,
        }
    }

    /// A directory whose tree is `subtree`.
    pub(crate) fn directory(name: &str, mtime: Timestamp, subtree: Id) -> Node {
        Node {
            quoted_name: quote(name),
            kind: "dir".to_owned(),
            mode: MODE_DIR | 0o700,
            mtime,
            atime: mtime,
            ctime: mtime,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            size: 0,
            links: 0,
            content: None,
            subtree: Some(subtree),
        }
    }

    /// The name's bytes, as they were.
    pub(crate) fn name(&self) -> std::result::Result<Vec<u8>, String> {
        unquote(&self.quoted_name).ok_or_else(|| {
            format!(
                "the name {:?} is not quoted as it should be",
                self.quoted_name
            )
        })
    }
}

impl Tree {
    /// The blob that holds this directory.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let json =
            serde_json::to_vec(self).map_err(|error| VaultError::Internal(error.to_string()))?;
        Ok(escape_as_go(json))
    }

    /// Reads the opened blob.
    pub(crate) fn parse(json: &[u8]) -> std::result::Result<Tree, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

fn null_is_empty<'de, D>(deserializer: D) -> std::result::Result<Vec<Node>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::<Vec<Node>>::deserialize(deserializer)?.unwrap_or_default())
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}

fn zero_time() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

/// Permission bits as Go's `os.FileMode` has them.
fn go_mode(mode: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(unix, _)| mode & unix != 0);
    special.fold(mode & 0o777, |bits, (_, go)| bits | go)
}

/// Escapes what Go's JSON encoder escapes (all of it can stand in strings only), and ends the line.
fn escape_as_go(mut json: Vec<u8>) -> Vec<u8> {
    if !json
        .iter()
        .any(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2))
    {
        json.push(b'\n');
        return json;
    }
    let mut escaped = Vec::with_capacity(json.len() + 1);
    let mut rest = json.as_slice();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match rest {
            [0xe2, 0x80, last @ (0xa8 | 0xa9), tail @ ..] => {
                escaped.extend_from_slice(if *last == 0xa8 {
                    b"\\u2028"
                } else {
                    b"\\u2029"
                });
                tail
            }
            _ => {
                match byte {
                    b'<' => escaped.extend_from_slice(b"\\u003c"),
                    b'>' => escaped.extend_from_slice(b"\\u003e"),
                    b'&' => escaped.extend_from_slice(b"\\u0026"),
                    _ => escaped.push(byte),
                }
                tail
            }
        };
    }
    escaped.push(b'\n');
    escaped
}

/// As Go's `strconv.Quote` without the outer quotes, for names that are UTF-8.
fn quote(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            c if c < ' ' || c == '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted
}

/// The bytes that Go's `strconv.Unquote` makes of the same text.
fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return None,
            '\\' => rest = unescape(rest, &mut name)?,
            c => name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(name)
}

/// Takes what follows a backslash.
fn unescape<'a>(text: &'a str, name: &mut Vec<u8>) -> Option<&'a str> {
    let c = text.chars().next()?;
    let rest = &text[c.len_utf8()..];
    let simple = match c {
        '"' | '\'' | '\\' => Some(c as u8),
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        _ => None,
    };
    if let Some(byte) = simple {
        name.push(byte);
        return Some(rest);
    }
    let (digits, radix) = match c {
        'x' => (rest.get(..2)?, 16),
        'u' => (rest.get(..4)?, 16),
        'U' => (rest.get(..8)?, 16),
        '0'..='7' => (text.get(..3)?, 8),
        _ => return None,
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let value = u32::from_str_radix(digits, radix).ok()?;
    if matches!(c, 'u' | 'U') {
        name.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        name.push(u8::try_from(value).ok()?);
    }
    text.get(digits.len() + usize::from(radix == 16)..)
}

#[cfg(test)]
mod tests {
    use super::super::options::FileMeta;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tree_is_written_as_restic_writes_it() {
        let mtime: Timestamp = "2014-12-22T14:47:59.9124187Z".parse().expect("time");
        let meta = FileMeta {
            mode: 0o4640,
            ..FileMeta::new(mtime)
        };
        let id = Id::of(b"abc");
        let tree = Tree {
            nodes: vec![
                Node::file("a<b>\"é\"\n", &meta, 3, vec![id]),
                Node::file("empty", &FileMeta::new(mtime), 0, vec![]),
                Node::directory("sub", mtime, id),
            ],
        };
        let expected = concat!(
            r#"{"nodes":[{"name":"a\u003cb\u003e\\\"é\\\"\\n","type":"file","mode":8389024,"#,
            r#""mtime":"2014-12-22T14:47:59.9124187Z","atime":"2014-12-22T14:47:59.9124187Z","#,
            r#""ctime":"2014-12-22T14:47:59.9124187Z","uid":0,"gid":0,"size":3,"links":1,"#,
            r#""content":["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]},"#,
            r#"{"name":"empty","type":"file","mode":384,"#,
            r#""mtime":"2014-12-22T14:47:59.9124187Z","atime":"2014-12-22T14:47:59.9124187Z","#,
            r#""ctime":"2014-12-22T14:47:59.9124187Z","uid":0,"gid":0,"links":1,"content":[]},"#,
            r#"{"name":"sub","type":"dir","mode":2147484096,"#,
            r#""mtime":"2014-12-22T14:47:59.9124187Z","atime":"2014-12-22T14:47:59.9124187Z","#,
            r#""ctime":"2014-12-22T14:47:59.9124187Z","uid":0,"gid":0,"content":null,"#,
            r#""subtree":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]}"#,
            "\n"
        );
        let json = tree.to_json().expect("json");
        assert_eq!(String::from_utf8(json.clone()).expect("text"), expected);
        assert_eq!(Tree::parse(&json).expect("valid"), tree);
        assert_eq!(
            tree.nodes[0].name().expect("name"),
            "a<b>\"é\"\n".as_bytes()
        );
    }

    #[test]
    fn names_that_are_not_utf8_come_back_as_bytes() {
        assert_eq!(
            unquote(r"a\xff\377\u00e9\U0001F600"),
            Some(b"a\xff\xff\xc3\xa9\xf0\x9f\x98\x80".to_vec())
        );
        for bad in [
            r"\", r"\x", r"\xf", r"\q", r"\u12", r"\ud800", r"\400", "\"", r"\x+1",
        ] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_name_goes_there_and_back(name in "\\PC*|[\\x00-\\x7f]*") {
            prop_assert_eq!(unquote(&quote(&name)), Some(name.into_bytes()));
        }

        #[test]
        fn any_text_is_unquoted_calmly(text in ".*|[\\\\xuU0-9a-f]*") {
            let _ = unquote(&text);
        }

        #[test]
        fn any_bytes_are_read_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Tree::parse(&bytes);
        }
    }
}
