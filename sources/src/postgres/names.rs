//! Names of the databases that a restore makes: `app_restoring_0190f5fe89ab` while it is half made,
//! `app_before_0190f5fe89ab` for what was there before.
//!
//! The twelve hex digits are the head of the run's id (uuid v7: its milliseconds), so that a name leads to its run and two
//! runs of one source never share one. A name longer than PostgreSQL's 63 bytes is shortened, with a digest in
//! place of what is cut; the same database and run always give the same name.

/// NAMEDATALEN - 1 of PostgreSQL, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 63;
const TAG_DIGITS: usize = 12;
const RESTORING: &str = "_restoring_";
const BEFORE: &str = "_before_";
const TABLES: &str = "_tables_";

/// The part of a run's id that stands in names.
pub(crate) fn run_tag(run_id: &str) -> String {
    let digits: String = run_id.chars().filter(|c| *c != '-').collect();
    if digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        digits[..TAG_DIGITS].to_ascii_lowercase()
    } else {
        format!("{:016x}", digest(run_id))[..TAG_DIGITS].to_owned()
    }
}

/// The half-made copy of `database` in this run.
pub(crate) fn restoring(database: &str, run_id: &str) -> String {
    with_suffix(database, &format!("{RESTORING}{}", run_tag(run_id)))
}

/// What was `database` before this run.
pub(crate) fn before(database: &str, run_id: &str) -> String {
    with_suffix(database, &format!("{BEFORE}{}", run_tag(run_id)))
}

/// The new database for single tables of `database` when nobody named one.
pub(crate) fn tables(database: &str, run_id: &str) -> String {
    with_suffix(database, &format!("{TABLES}{}", run_tag(run_id)))
}

/// Whether `name` is one that [`before`] gives.
pub(crate) fn is_before(name: &str) -> bool {
    tag_after(name, BEFORE).is_some()
}

/// The run's tag when `name` is one that [`restoring`] gives.
pub(crate) fn restoring_tag(name: &str) -> Option<&str> {
    tag_after(name, RESTORING)
}

fn tag_after<'n>(name: &'n str, infix: &str) -> Option<&'n str> {
    let tag_start = name.len().checked_sub(TAG_DIGITS)?;
    let (head, tag) = (name.get(..tag_start)?, name.get(tag_start..)?);
    let lower_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let base = head.strip_suffix(infix)?;
    (!base.is_empty() && tag.chars().all(lower_hex)).then_some(tag)
}

fn with_suffix(database: &str, suffix: &str) -> String {
    let room = MAX_NAME_BYTES - suffix.len();
    if database.len() <= room {
        return format!("{database}{suffix}");
    }
    let mark = format!("~{:016x}", digest(database))[..7].to_owned();
    let mut cut = room - mark.len();
    while !database.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{mark}{suffix}", &database[..cut])
}

/// FNV-1a, 64 bits: tells shortened names apart, nothing more.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `text` as one segment of a path: what is not a letter, digit, `-`, `_` or `.` becomes `%XX` of its bytes, and so does a
/// leading dot.
pub(crate) fn path_segment(text: &str) -> String {
    let mut segment = String::new();
    for (at, byte) in text.bytes().enumerate() {
        let plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0);
        if plain {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: &str = "0190f5fe-89ab-7cde-8123-456789abcdef";

    #[test]
    fn names_lead_to_their_run() {
        assert_eq!(restoring("app", RUN), "app_restoring_0190f5fe89ab");
        assert_eq!(before("app", RUN), "app_before_0190f5fe89ab");
        assert_eq!(
            restoring_tag("app_restoring_0190f5fe89ab"),
            Some("0190f5fe89ab")
        );
        assert!(is_before("app_before_0190f5fe89ab"));
        for foreign in [
            "app_before_0190f5fe89a",
            "app_before_0190f5fe89aG",
            "_before_0190f5fe89ab",
            "app",
            "",
        ] {
            assert!(!is_before(foreign), "{foreign}");
        }
    }

    #[test]
    fn segments_are_safe() {
        assert_eq!(path_segment("a b/ü..x"), "a%20b%2F%C3%BC..x");
        assert_eq!(path_segment(".."), "%2E.");
    }

    proptest! {
        #[test]
        fn every_name_fits_and_is_recognised(name in "\\PC{1,63}", other in "\\PC{1,63}") {
            let made = before(&name, RUN);
            prop_assert!(made.len() <= MAX_NAME_BYTES && is_before(&made));
            prop_assert!(name == other || made != before(&other, RUN));
        }
    }
}
