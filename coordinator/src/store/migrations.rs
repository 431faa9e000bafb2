//! The tables' history, compiled in, and the refusal to work on tables of a later version.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::error::BoxDynError;
use sqlx::migrate::{Migration, MigrationSource, MigrationType, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, SqlSafeStr as _};

use super::connect::Database;
use super::error::{Result, StoreError};

/// Version, name and text of every migration, in order.
const MIGRATIONS: [(i64, &str, &str); 1] = [(
    1,
    "initial",
    include_str!("../../migrations/0001_initial.sql"),
)];

/// The migrations in one database's dialect.
#[derive(Debug, Clone, Copy)]
struct Embedded(Database);

impl MigrationSource<'static> for Embedded {
    fn resolve(self) -> BoxFuture<'static, std::result::Result<Vec<Migration>, BoxDynError>> {
        let bytes = match self.0 {
            Database::Sqlite => "BLOB",
            Database::Postgres => "BYTEA",
        };
        let migration = |(version, name, text): &(i64, &'static str, &str)| {
            // The text is ours and compiled in; only the word for bytes is put in.
            let sql = AssertSqlSafe(text.replace(" BYTES ", &format!(" {bytes} "))).into_sql_str();
            Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false)
        };
        let all = MIGRATIONS.iter().map(migration).collect();
        async move { Ok(all) }.boxed()
    }
}

/// Brings the tables up to date. Refuses tables of a later version before anything is touched.
pub(super) async fn run(
    connection: &mut AnyConnection,
    database: Database,
    place: &str,
) -> Result<()> {
    refuse_newer(connection, database, place).await?;
    let migrator = Migrator::new(Embedded(database)).await?;
    migrator.run_direct(None, connection, false).await?;
    Ok(())
}

async fn refuse_newer(
    connection: &mut AnyConnection,
    database: Database,
    place: &str,
) -> Result<()> {
    let exists = match database {
        Database::Sqlite => {
            "SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'"
        }
        Database::Postgres => {
            "SELECT count(*) AS n FROM pg_tables WHERE schemaname = current_schema() AND tablename = '_sqlx_migrations'"
        }
    };
    let row = sqlx::query(exists).fetch_one(&mut *connection).await?;
    if row.try_get::<i64, _>("n")? == 0 {
        return Ok(());
    }
    let row = sqlx::query("SELECT COALESCE(max(version), 0) AS version FROM _sqlx_migrations")
        .fetch_one(&mut *connection)
        .await?;
    let found: i64 = row.try_get("version")?;
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    if found > known {
        return Err(StoreError::NewerSchema {
            place: place.into(),
            found,
            known,
        });
    }
    Ok(())
}
