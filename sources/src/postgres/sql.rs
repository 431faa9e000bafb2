//! Pieces of SQL text: quoting, settings, grants. Nothing here talks to a server.

/// `name` as an identifier, always quoted.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name` as identifiers.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// `text` as a string constant that reads the same whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// `name='value'` of a libpq connection string.
pub(crate) fn conninfo(name: &str, value: &str) -> String {
    format!(
        "{name}='{}'",
        value.replace('\\', "\\\\").replace('\'', "\\'")
    )
}

/// Settings whose stored value is a list of identifiers, already quoted where need be: it must be handed back element
/// by element, since as one constant it would become one element. (GUC_LIST_QUOTE in PostgreSQL's guc tables, the same
/// list as in its `variable_is_guc_list_quote`.)
const LIST_SETTINGS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// ` SET name TO value` for a stored setting.
pub(crate) fn set_clause(name: &str, value: &str) -> String {
    let value = if LIST_SETTINGS.contains(&name.to_ascii_lowercase().as_str()) {
        let elements: Vec<String> = split_identifiers(value)
            .iter()
            .map(|element| literal(element))
            .collect();
        if elements.is_empty() {
            literal("")
        } else {
            elements.join(", ")
        }
    } else {
        literal(value)
    };
    format!(" SET {} TO {value}", ident(name))
}

/// Splits `a, "B c", ""` into its elements, without their quotes.
fn split_identifiers(list: &str) -> Vec<String> {
    let mut elements = Vec::new();
    let mut current = String::new();
    let (mut quoted, mut any) = (false, false);
    let mut rest = list.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                current.push('"');
            }
            '"' => {
                quoted = !quoted;
                any = true;
            }
            ',' if !quoted => {
                if any {
                    elements.push(std::mem::take(&mut current));
                }
                any = false;
            }
            c if !quoted && c.is_whitespace() => {}
            c => {
                any = true;
                current.push(c);
            }
        }
    }
    if any {
        elements.push(current);
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quoting() {
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(conninfo("dbname", "a'\\"), "dbname='a\\'\\\\'");
    }

    #[test]
    fn lists_stay_lists() {
        assert_eq!(set_clause("work_mem", "4MB"), " SET \"work_mem\" TO '4MB'");
        assert_eq!(
            set_clause("search_path", "\"$user\", public, \"A, b\""),
            " SET \"search_path\" TO '$user', 'public', 'A, b'"
        );
        assert_eq!(
            set_clause("search_path", "\"\""),
            " SET \"search_path\" TO ''"
        );
        assert_eq!(set_clause("my.app", "x, y"), " SET \"my.app\" TO 'x, y'");
    }

    proptest! {
        #[test]
        fn quoted_elements_come_back(elements in prop::collection::vec(".{0,10}", 0..5)) {
            let list: Vec<String> = elements.iter().map(|element| ident(element)).collect();
            prop_assert_eq!(split_identifiers(&list.join(", ")), elements);
        }
    }
}
