//! The audit log: what operators and agents caused, in a chain of hashes.
//!
//! Each row's hash is SHA-256 over the hash before it and the row's own fields, each preceded by its length (u64, big
//! endian), so a row that is changed, removed or put in between breaks the chain from there on. The head is one row that
//! every writer updates first: rows are numbered without gaps, also between transactions.

use aws_lc_rs::digest::{Context, SHA256};
use sqlx::AnyConnection;

use super::error::Result;
use super::row::Columns;

/// The hash before the first row.
const GENESIS: [u8; 32] = [0; 32];

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub sequence: i64,
    /// When.
    pub time_micros: i64,
    /// `operator NAME`, `agent NAME` or `coordinator`.
    pub actor: String,
    /// What was done: `run.start`, `agent.invite`, ...
    pub action: String,
    /// To what.
    pub subject: String,
    /// More about it, for people.
    pub detail: String,
    /// The chain up to here.
    pub hash: Vec<u8>,
}

/// Adds an entry, in the transaction of what it tells about.
pub async fn add(
    connection: &mut AnyConnection,
    time_micros: i64,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit_head (id, sequence, hash) VALUES (1, 1, $1) \
         ON CONFLICT (id) DO UPDATE SET sequence = audit_head.sequence + 1",
    )
    .bind(GENESIS.to_vec())
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query("SELECT * FROM audit_head WHERE id = 1")
        .fetch_one(&mut *connection)
        .await?;
    let head = Columns::new("audit_head", &row);
    let mut entry = Entry {
        sequence: head.int("sequence")?,
        time_micros,
        actor: actor.into(),
        action: action.into(),
        subject: subject.into(),
        detail: detail.into(),
        hash: Vec::new(),
    };
    entry.hash = chained(&head.bytes("hash")?, &entry);
    sqlx::query(
        "INSERT INTO audit (sequence, time_micros, actor, action, subject, detail, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(entry.sequence)
    .bind(entry.time_micros)
    .bind(entry.actor)
    .bind(entry.action)
    .bind(entry.subject)
    .bind(entry.detail)
    .bind(entry.hash.clone())
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE audit_head SET hash = $1 WHERE id = 1")
        .bind(entry.hash)
        .execute(connection)
        .await?;
    Ok(())
}

/// Entries after `sequence`, oldest first.
pub async fn list(
    connection: &mut AnyConnection,
    after_sequence: i64,
    limit: i64,
) -> Result<Vec<Entry>> {
    let rows = sqlx::query("SELECT * FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2")
        .bind(after_sequence)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let columns = Columns::new("audit", row);
            Ok(Entry {
                sequence: columns.int("sequence")?,
                time_micros: columns.int("time_micros")?,
                actor: columns.text("actor")?,
                action: columns.text("action")?,
                subject: columns.text("subject")?,
                detail: columns.text("detail")?,
                hash: columns.bytes("hash")?,
            })
        })
        .collect()
}

/// The first entry of a whole log that does not fit the one before it.
#[must_use]
pub fn first_break(entries: &[Entry]) -> Option<i64> {
    let mut before: &[u8] = &GENESIS;
    for (index, entry) in entries.iter().enumerate() {
        let numbered = usize::try_from(entry.sequence) == Ok(index + 1);
        if !numbered || entry.hash != chained(before, entry) {
            return Some(entry.sequence);
        }
        before = &entry.hash;
    }
    None
}

fn chained(before: &[u8], entry: &Entry) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    let (sequence, time) = (
        entry.sequence.to_be_bytes(),
        entry.time_micros.to_be_bytes(),
    );
    let texts = [&entry.actor, &entry.action, &entry.subject, &entry.detail];
    let fields = [before, &sequence, &time].into_iter();
    for field in fields.chain(texts.into_iter().map(|text| text.as_bytes())) {
        context.update(&(field.len() as u64).to_be_bytes());
        context.update(field);
    }
    context.finish().as_ref().to_vec()
}
