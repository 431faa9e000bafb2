//! Archives made up by the format's rules, whole, cut, split and damaged.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A table's data: oid and rows.
type Table = (u32, Vec<String>);

#[derive(Debug, Clone)]
struct Made {
    minor: u8,
    tables: Vec<Table>,
    objects: Vec<Vec<u8>>,
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"PGDMP".to_vec();
        out.extend([1, self.minor, 0, 4, 8, 1]);
        if self.minor >= 15 {
            out.push(0)
        } else {
            int(&mut out, 0)
        }
        for part in 0..7 {
            int(&mut out, part);
        }
        string(&mut out, Some("db"));
        string(&mut out, Some("15.1"));
        string(&mut out, None);
        int(&mut out, i64::try_from(self.tables.len()).unwrap() + 2);
        self.entry(&mut out, 1, "ENCODING", 0, false);
        for (at, (oid, _)) in self.tables.iter().enumerate() {
            self.entry(
                &mut out,
                10 + i64::try_from(at).unwrap(),
                "TABLE DATA",
                *oid,
                true,
            );
        }
        self.entry(&mut out, 2, "BLOBS", 0, true);
        for (at, (_, rows)) in self.tables.iter().enumerate() {
            out.push(1);
            int(&mut out, 10 + i64::try_from(at).unwrap());
            for row in rows {
                piece(&mut out, format!("{row}\n").as_bytes());
            }
            piece(&mut out, b"\\.\n\n\n");
            int(&mut out, 0);
        }
        out.push(3);
        int(&mut out, 2);
        for object in &self.objects {
            int(&mut out, 4242);
            piece(&mut out, object);
            int(&mut out, 0);
        }
        int(&mut out, 0);
        out
    }

    fn entry(&self, out: &mut Vec<u8>, id: i64, kind: &str, oid: u32, data: bool) {
        int(out, id);
        int(out, i64::from(data));
        string(out, Some("1259"));
        string(out, Some(&oid.to_string()));
        string(out, Some("name"));
        string(out, Some(kind));
        int(out, 3);
        for text in [
            Some("CREATE"),
            Some("DROP"),
            None,
            Some("public"),
            None,
            None,
        ] {
            string(out, text);
        }
        if self.minor >= 16 {
            int(out, 114);
        }
        string(out, Some("owner"));
        string(out, Some("false"));
        string(out, Some("1"));
        string(out, None);
        out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    fn rows(&self) -> BTreeMap<u32, u64> {
        let mut rows = BTreeMap::new();
        for (oid, table) in &self.tables {
            *rows.entry(*oid).or_default() += table.len() as u64;
        }
        rows
    }
}

fn int(out: &mut Vec<u8>, value: i64) {
    out.push(u8::from(value < 0));
    out.extend(&value.unsigned_abs().to_le_bytes()[..4]);
}

fn string(out: &mut Vec<u8>, text: Option<&str>) {
    int(
        out,
        text.map_or(-1, |text| i64::try_from(text.len()).unwrap()),
    );
    out.extend(text.unwrap_or_default().as_bytes());
}

fn piece(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() {
        int(out, i64::try_from(bytes.len()).unwrap());
        out.extend(bytes);
    }
}

fn read(bytes: &[u8], sizes: &[usize]) -> Result<ArchiveSummary, ArchiveError> {
    let mut reader = ArchiveReader::counting();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).min(rest.len()));
        reader.push(&rest[..size])?;
        rest = &rest[size..];
    }
    reader.finish()
}

fn made() -> impl Strategy<Value = Made> {
    let row = "[a-z\t\\\\.]{0,12}";
    let table = (1..9_u32, prop::collection::vec(row, 0..6));
    let tables = prop::collection::vec(table, 0..5);
    let objects = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..3);
    (14..=16_u8, tables, objects).prop_map(|(minor, tables, objects)| Made {
        minor,
        tables,
        objects,
    })
}

proptest! {
    #[test]
    fn rows_are_counted_however_the_stream_is_split(made in made(), sizes in prop::collection::vec(1..40_usize, 1..6)) {
        let bytes = made.bytes();
        let summary = read(&bytes, &sizes).unwrap();
        prop_assert_eq!(&summary.rows, &made.rows());
        prop_assert_eq!(summary.large_objects, made.objects.len() as u64);
        prop_assert_eq!(summary.bytes, bytes.len() as u64);
        prop_assert_eq!(&read(&bytes, &[]).unwrap(), &summary);
    }

    #[test]
    fn a_cut_archive_is_never_whole(made in made(), cut in any::<prop::sample::Index>(), sizes in prop::collection::vec(1..40_usize, 1..4)) {
        let bytes = made.bytes();
        let cut = cut.index(bytes.len());
        prop_assert!(read(&bytes[..cut], &sizes).is_err(), "whole at {} of {}", cut, bytes.len());
    }

    #[test]
    fn damage_gives_an_answer_and_no_panic(made in made(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = made.bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _any_answer = read(&bytes, &[7]);
    }

    #[test]
    fn noise_gives_an_answer_and_no_panic(noise in prop::collection::vec(any::<u8>(), 0..300), with_head in any::<bool>()) {
        let mut bytes = if with_head { Made { minor: 16, tables: vec![], objects: vec![] }.bytes() } else { Vec::new() };
        bytes.extend(noise);
        let _any_answer = read(&bytes, &[5]);
    }
}

#[test]
fn foreign_streams_are_named() {
    assert_eq!(
        read(b"-- PostgreSQL database dump", &[]).unwrap_err(),
        ArchiveError::NotAnArchive
    );
    let mut newer = Made {
        minor: 16,
        tables: vec![],
        objects: vec![],
    }
    .bytes();
    newer[6] = 17;
    assert_eq!(
        read(&newer, &[]).unwrap_err(),
        ArchiveError::UnknownVersion(1, 17)
    );
    let mut compressed = Made {
        minor: 15,
        tables: vec![],
        objects: vec![],
    }
    .bytes();
    compressed[11] = 1;
    assert_eq!(
        read(&compressed, &[]).unwrap_err(),
        ArchiveError::Unsupported("compressed".to_owned())
    );
}

#[test]
fn data_that_is_no_copy_text_is_refused() {
    let made = Made {
        minor: 15,
        tables: vec![(5, vec!["a".to_owned()])],
        objects: vec![],
    };
    let mut bytes = made.bytes();
    let end = bytes
        .windows(5)
        .position(|window| window == b"\\.\n\n\n")
        .unwrap();
    bytes[end] = b'x';
    assert!(matches!(
        read(&bytes, &[]).unwrap_err(),
        ArchiveError::Damaged { .. }
    ));
}

#[test]
fn entries_without_data_are_missed() {
    let made = Made {
        minor: 15,
        tables: vec![(5, vec![])],
        objects: vec![],
    };
    let bytes = made.bytes();
    let blobs = bytes.len() - 11;
    assert_eq!(
        read(&bytes[..blobs], &[]).unwrap_err(),
        ArchiveError::MissingData(1)
    );
}
