//! Splits a script of `pg_dumpall` into statements.
//!
//! Understands what PostgreSQL's lexer does outside of expressions: quoted names, string constants with and without
//! escapes, dollar quotes, comments (nested ones, too), and psql's own lines that begin with a backslash, which are left out.

/// The statements of `script`, without comments between them and without their semicolons.
pub(crate) fn split(script: &str) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut rest = script;
    while !rest.is_empty() {
        let length = splitter.take(rest);
        rest = &rest[length..];
    }
    splitter.end_statement();
    splitter.statements
}

#[derive(Default)]
struct Splitter {
    current: String,
    statements: Vec<String>,
}

impl Splitter {
    /// Takes one token; says how many bytes it has (at least one character's).
    fn take(&mut self, rest: &str) -> usize {
        let first = rest.chars().next().map_or(1, char::len_utf8);
        if rest.starts_with("--") || (rest.starts_with('\\') && self.current.trim().is_empty()) {
            return rest.find('\n').unwrap_or(rest.len());
        }
        if rest.starts_with("/*") {
            self.current.push(' ');
            return block_comment(rest);
        }
        if rest.starts_with(';') {
            self.end_statement();
            return first;
        }
        let length = match rest.as_bytes()[0] {
            b'"' => quoted(rest, '"', false),
            b'\'' => quoted(rest, '\'', self.escapes()),
            b'$' => dollar_quoted(rest).unwrap_or(first),
            _ => first,
        };
        self.current.push_str(&rest[..length]);
        length
    }

    /// Whether the quote that comes now is that of an `E'...'` constant.
    fn escapes(&self) -> bool {
        let mut before = self.current.chars().rev();
        matches!(before.next(), Some('E' | 'e'))
            && !before
                .next()
                .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$')
    }

    fn end_statement(&mut self) {
        let statement = std::mem::take(&mut self.current).trim().to_owned();
        if !statement.is_empty() {
            self.statements.push(statement);
        }
    }
}

/// Length of a quoted piece, its quotes included; a doubled quote is a character of it. An open one goes to the end.
fn quoted(rest: &str, quote: char, escapes: bool) -> usize {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return at + c.len_utf8(),
            }
        }
    }
    rest.len()
}

/// Length of `$tag$...$tag$`; `None` when it is only a dollar sign.
fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag_end = rest[1..].find('$')? + 2;
    let tag = &rest[..tag_end];
    let inner = &tag[1..tag_end - 1];
    let valid = inner.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !inner.starts_with(|c: char| c.is_ascii_digit());
    if !valid {
        return None;
    }
    Some(
        rest[tag_end..]
            .find(tag)
            .map_or(rest.len(), |end| tag_end + end + tag.len()),
    )
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The name that `statement` is about when it begins with `words`: of "CREATE ROLE "a b" ..." and "CREATE ROLE", `a b`.
pub(crate) fn name_after(statement: &str, words: &str) -> Option<String> {
    let rest = statement.strip_prefix(words)?;
    let rest = rest.strip_prefix(' ')?.trim_start();
    if rest.starts_with('"') {
        let length = quoted(rest, '"', false);
        return Some(rest.get(1..length.checked_sub(1)?)?.replace("\"\"", "\""));
    }
    let end = rest
        .find(|c: char| c.is_whitespace() || c == ';')
        .unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::sql::{ident, literal};
    use proptest::prelude::*;

    #[test]
    fn a_script_of_pg_dumpall_splits() {
        let script = "--\n-- Roles; all\n--\n\\restrict abc\nCREATE ROLE \"a;b\";\nALTER ROLE \"a;b\" WITH PASSWORD 'x;''y';\n\n\
             COMMENT ON ROLE a IS E'it\\'s;\\n';\nSELECT $q$ ; $q$, $1 /* ; /* ; */ ; */ ;\n\\unrestrict abc\n";
        assert_eq!(
            split(script),
            [
                "CREATE ROLE \"a;b\"",
                "ALTER ROLE \"a;b\" WITH PASSWORD 'x;''y'",
                "COMMENT ON ROLE a IS E'it\\'s;\\n'",
                "SELECT $q$ ; $q$, $1",
            ]
        );
    }

    #[test]
    fn names_are_found() {
        assert_eq!(
            name_after("CREATE ROLE \"a \"\"b\" WITH", "CREATE ROLE").unwrap(),
            "a \"b"
        );
        assert_eq!(name_after("CREATE ROLE abc", "CREATE ROLE").unwrap(), "abc");
        assert_eq!(name_after("CREATE ROLES x", "CREATE ROLE"), None);
        assert_eq!(name_after("CREATE ROLE \"", "CREATE ROLE"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(script in "[-/*;'\"$E\\\\ a\n\u{e9}]{0,40}") {
            let statements = split(&script);
            prop_assert!(statements.iter().map(String::len).sum::<usize>() <= script.len() + statements.len());
        }

        #[test]
        fn statements_come_back(names in prop::collection::vec(("\\PC{1,10}", "\\PC{0,10}"), 0..6)) {
            let statements: Vec<String> = names.iter().map(|(role, text)| format!("COMMENT ON ROLE {} IS {}", ident(role), literal(text))).collect();
            prop_assert_eq!(split(&statements.join(";\n-- ';\n")), statements.clone());
            for ((role, _), statement) in names.iter().zip(&statements) {
                prop_assert_eq!(&name_after(statement, "COMMENT ON ROLE").unwrap(), role);
            }
        }
    }
}
