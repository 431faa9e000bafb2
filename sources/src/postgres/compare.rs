//! Whether a restored database holds what the manifest says: every table, every row, every large object.

use std::collections::HashSet;

use super::catalog::{one, query, unsigned};
use super::connect::{Server, Session};
use super::manifest::{DatabaseManifest, TableRows};
use super::sql::qualified;
use crate::error::SourceError;

/// Tables counted by one statement.
const BATCH: usize = 100;
/// Differences named in an error.
const MAX_NAMED: usize = 5;

/// ANALYZE and the comparison side by side: both read every page.
pub(crate) async fn analyze_and_compare(
    server: &Server,
    database: &str,
    manifest: &DatabaseManifest,
) -> Result<(), SourceError> {
    let (analyzing, counting) = (
        server.connect(database).await?,
        server.connect(database).await?,
    );
    let analyze = analyzing.run("ANALYZE", "analyzing the restored tables");
    let compare = async {
        compare_tables(&counting, &manifest.tables).await?;
        compare_large_objects(&counting, manifest.large_objects).await
    };
    tokio::try_join!(analyze, compare)?;
    analyzing.close().await;
    counting.close().await;
    Ok(())
}

/// Counts each table and compares.
pub(crate) async fn compare_tables(
    session: &Session,
    tables: &[TableRows],
) -> Result<(), SourceError> {
    let mut differences = missing(session, tables).await?;
    if differences.is_empty() {
        for batch in tables.chunks(BATCH) {
            differences.extend(compare_batch(session, batch).await?);
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    let rest = differences.len().saturating_sub(MAX_NAMED);
    let mut text = differences[..differences.len() - rest].join("; ");
    if rest > 0 {
        text.push_str(&format!("; and {rest} more"));
    }
    Err(SourceError::permanent(
        format!("what was restored differs from the manifest: {text}"),
        "the live database was not touched; restore from another snapshot, and report this",
    ))
}

async fn missing(session: &Session, tables: &[TableRows]) -> Result<Vec<String>, SourceError> {
    let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'";
    let rows = query(session, sql, &[], "listing the restored tables").await?;
    let there: HashSet<(String, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(tables
        .iter()
        .filter(|table| !there.contains(&(table.schema.clone(), table.name.clone())))
        .map(|table| format!("table {}.{} is missing", table.schema, table.name))
        .collect())
}

async fn compare_batch(
    session: &Session,
    tables: &[TableRows],
) -> Result<Vec<String>, SourceError> {
    let counts: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(at, table)| {
            format!(
                "SELECT {at}::int8, count(*) FROM ONLY {}",
                qualified(&table.schema, &table.name)
            )
        })
        .collect();
    let rows = query(
        session,
        &counts.join(" UNION ALL "),
        &[],
        "counting the restored rows",
    )
    .await?;
    let mut counted = vec![None; tables.len()];
    for row in &rows {
        if let Some(slot) = usize::try_from(row.get::<_, i64>(0))
            .ok()
            .and_then(|at| counted.get_mut(at))
        {
            *slot = Some(unsigned(row.get(1)));
        }
    }
    Ok(tables
        .iter()
        .zip(counted)
        .filter_map(|(table, rows)| difference(table, rows))
        .collect())
}

fn difference(table: &TableRows, counted: Option<u64>) -> Option<String> {
    let Some(counted) = counted else {
        return Some(format!(
            "table {}.{} was not counted",
            table.schema, table.name
        ));
    };
    let equal = counted == table.rows || (table.at_least && counted > table.rows);
    (!equal).then(|| {
        let least = if table.at_least { "at least " } else { "" };
        format!(
            "table {}.{} has {counted} rows instead of {least}{}",
            table.schema, table.name, table.rows
        )
    })
}

async fn compare_large_objects(session: &Session, expected: u64) -> Result<(), SourceError> {
    let row = one(
        session,
        "SELECT count(*) FROM pg_largeobject_metadata",
        &[],
        "counting the large objects",
    )
    .await?;
    let counted = unsigned(row.get(0));
    if counted == expected {
        return Ok(());
    }
    Err(SourceError::permanent(
        format!(
            "what was restored differs from the manifest: {counted} large objects instead of {expected}"
        ),
        "the live database was not touched; restore from another snapshot, and report this",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told() {
        let table = |rows, at_least| TableRows {
            schema: "s".to_owned(),
            name: "t".to_owned(),
            rows,
            at_least,
        };
        assert_eq!(difference(&table(3, false), Some(3)), None);
        assert_eq!(difference(&table(3, true), Some(4)), None);
        assert_eq!(
            difference(&table(3, false), Some(4)).unwrap(),
            "table s.t has 4 rows instead of 3"
        );
        assert_eq!(
            difference(&table(3, true), Some(2)).unwrap(),
            "table s.t has 2 rows instead of at least 3"
        );
        assert!(difference(&table(0, false), None).is_some());
    }
}
