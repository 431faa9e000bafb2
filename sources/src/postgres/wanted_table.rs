//! Tables as a person names them.

/// A table as asked for: `table`, or `schema.table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedTable {
    pub schema: Option<String>,
    pub name: String,
}

impl WantedTable {
    /// Reads `table`, `schema.table`, and either with parts in double quotes (in which a dot is a character).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        let mut quoted = false;
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '"' if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    parts.last_mut()?.push('"');
                }
                '"' => quoted = !quoted,
                '.' if !quoted => parts.push(String::new()),
                c => parts.last_mut()?.push(c),
            }
        }
        if quoted || parts.iter().any(String::is_empty) {
            return None;
        }
        let name = parts.pop()?;
        let schema = parts.pop();
        parts.is_empty().then_some(Self { schema, name })
    }
}

impl std::fmt::Display for WantedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_quotes() {
        assert_eq!(
            WantedTable::parse("\"a.b\".\"c\"\"d\"").unwrap(),
            WantedTable {
                schema: Some("a.b".to_owned()),
                name: "c\"d".to_owned()
            }
        );
        for bad in ["", ".a", "a.", "a.b.c", "\"a"] {
            assert_eq!(WantedTable::parse(bad), None, "{bad}");
        }
    }
}
