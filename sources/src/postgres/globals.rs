//! `globals.sql`: what belongs to the whole server, as `pg_dumpall --globals-only` writes it, followed by what that leaves
//! out: `ALTER ROLE ... IN DATABASE ... SET`.

use super::catalog::{RESTORED_BY, ServerFacts, query};
use super::connect::{Server, Session};
use super::programs::Programs;
use super::sql::{ident, set_clause};
use crate::error::SourceError;
use crate::run::RunContext;

/// Ten thousand roles take a few megabytes.
const MAX_GLOBALS_BYTES: usize = 64 << 20;
/// What begins our own part.
const OWN_PART: &str =
    "\n--\n-- Settings of roles in single databases (they need their databases)\n--\n\n";

/// The text of `globals.sql`.
pub(crate) async fn dump_globals(
    server: &Server,
    session: &Session,
    facts: &ServerFacts,
    programs: &Programs,
    maintenance_database: &str,
    context: &RunContext,
) -> Result<Vec<u8>, SourceError> {
    let mut program = server
        .program(&programs.pg_dumpall(), programs.major)?
        .arg("--globals-only")
        .arg(format!(
            "--lock-wait-timeout={}",
            server.lock_wait_timeout().as_millis()
        ))
        .arg(format!("--database={maintenance_database}"));
    if !facts.reads_passwords {
        program = program.arg("--no-role-passwords");
    }
    let mut text = program
        .output(
            MAX_GLOBALS_BYTES,
            &context.cancel,
            Some(context.reporter.clone()),
        )
        .await?;
    let own = role_settings(session).await?;
    if !own.is_empty() {
        text.extend_from_slice(OWN_PART.as_bytes());
        text.extend_from_slice(own.as_bytes());
    }
    Ok(text)
}

async fn role_settings(session: &Session) -> Result<String, SourceError> {
    let sql = "SELECT r.rolname, d.datname, s.setting FROM (SELECT setdatabase, setrole, unnest(setconfig) AS setting FROM pg_db_role_setting) s \
         JOIN pg_roles r ON r.oid = s.setrole JOIN pg_database d ON d.oid = s.setdatabase ORDER BY 1, 2, 3";
    let rows = query(
        session,
        sql,
        &[],
        "reading the settings of roles in databases",
    )
    .await?;
    let mut text = String::new();
    for row in &rows {
        let (role, database, stored): (String, String, String) =
            (row.get(0), row.get(1), row.get(2));
        if let Some((name, value)) = stored.split_once('=')
            && name != RESTORED_BY
        {
            text.push_str(&format!(
                "ALTER ROLE {} IN DATABASE {}{};\n",
                ident(&role),
                ident(&database),
                set_clause(name, value)
            ));
        }
    }
    Ok(text)
}
