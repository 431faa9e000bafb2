//! Patterns of database names: `*` any characters, `?` one, `[a-c]` or `[!a-c]` one of a set, `\` takes the next one literally.

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Vec<Part>,
    literal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Literal(char),
    Set {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GlobError {
    #[error("the pattern is empty")]
    Empty,
    #[error("the pattern has a `[` without its `]`; write `\\[` for the character itself")]
    OpenSet,
    #[error("the pattern ends with a lone `\\`")]
    LoneEscape,
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Result<Self, GlobError> {
        if pattern.is_empty() {
            return Err(GlobError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            parts.push(match c {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Literal(rest.next().ok_or(GlobError::LoneEscape)?),
                '[' => set(&mut rest)?,
                c => Part::Literal(c),
            });
        }
        let literal = parts
            .iter()
            .map(|part| match part {
                Part::Literal(c) => Some(*c),
                _ => None,
            })
            .collect();
        Ok(Self { parts, literal })
    }

    /// The one name it matches, when it has no wildcard.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.literal.as_deref()
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut part) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: one character further.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.parts.get(part) {
                Some(Part::Any) => {
                    retry = Some((at, part));
                    part += 1;
                    continue;
                }
                Some(wanted) if at < name.len() && wanted.accepts(name[at]) => {
                    at += 1;
                    part += 1;
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match retry {
                Some((from, star)) if from < name.len() => {
                    retry = Some((from + 1, star));
                    (at, part) = (from + 1, star + 1);
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Literal(literal) => *literal == c,
            Self::Set { ranges, negated } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn set(rest: &mut std::str::Chars<'_>) -> Result<Part, GlobError> {
    let mut members = Vec::new();
    let mut negated = false;
    loop {
        match rest.next().ok_or(GlobError::OpenSet)? {
            ']' if !members.is_empty() => break,
            '!' if members.is_empty() && !negated => negated = true,
            '\\' => members.push(rest.next().ok_or(GlobError::OpenSet)?),
            c => members.push(c),
        }
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        if at + 2 < members.len() && members[at + 1] == '-' {
            ranges.push((members[at], members[at + 2]));
            at += 3;
        } else {
            ranges.push((members[at], members[at]));
            at += 1;
        }
    }
    Ok(Part::Set { ranges, negated })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn wildcards_sets_and_escapes() {
        assert!(matches("*", "") && matches("*", "été"));
        assert!(matches("scratch_*", "scratch_1") && !matches("scratch_*", "scratch"));
        assert!(matches("a?c", "abc") && !matches("a?c", "ac"));
        assert!(matches("[a-c]x", "bx") && !matches("[!a-c]x", "bx"));
        assert!(matches(r"a\*", "a*") && !matches(r"a\*", "ab"));
        assert!(matches("*a*b*c", "xxaxbxbxc") && !matches("*a*b*c", "xxaxbxb"));
        assert_eq!(Glob::new(r"a\*").unwrap().literal(), Some("a*"));
        assert_eq!(Glob::new("[").unwrap_err(), GlobError::OpenSet);
        assert_eq!(Glob::new("").unwrap_err(), GlobError::Empty);
        assert_eq!(Glob::new("\\").unwrap_err(), GlobError::LoneEscape);
    }

    proptest! {
        #[test]
        fn every_name_matches_itself_escaped(name in ".{1,20}") {
            let pattern: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(matches(&pattern, &name));
        }

        #[test]
        fn any_text_is_a_pattern_or_an_error(pattern in ".{0,20}", name in ".{0,20}") {
            if let Ok(glob) = Glob::new(&pattern) {
                glob.matches(&name);
            }
        }
    }
}
