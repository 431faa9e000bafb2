//! The empty copy, and what stands about a database outside of it.

use super::catalog;
use super::connect::Session;
use super::manifest::{AclItem, DatabaseProperties, Setting};
use super::restore::{Restore, Target};
use super::sql::{ident, literal, set_clause};
use crate::error::SourceError;

/// How the comment of every half-made copy begins.
pub(crate) const COPY_COMMENT: &str = "holdfast: half-made copy";
/// First version with LOCALE_PROVIDER, and with ICU_RULES, in CREATE DATABASE.
const HAS_PROVIDER: u32 = 15;
const HAS_ICU_RULES: u32 = 16;

/// Creates the target's copy from template0, empty, marked as half made, with the properties that cannot be changed
/// later.
pub(crate) async fn create(restore: &Restore<'_>, target: &Target<'_>) -> Result<(), SourceError> {
    let (name, properties) = (&target.copy, &target.manifest.properties);
    let doing = format!("creating {name}");
    restore.copies.begin(name);
    let sql = create_statement(name, properties, restore.facts.major);
    restore
        .control
        .run(&sql, &doing)
        .await
        .map_err(locale_hint)?;
    let oid = catalog::database_oid(&restore.control, name).await?;
    restore.copies.made(name, oid.ok_or_else(|| lost(name))?);
    let comment = format!(
        "{COPY_COMMENT} of {}, run {}",
        properties.name, restore.context.run_id
    );
    let sql = format!(
        "COMMENT ON DATABASE {} IS {}",
        ident(name),
        literal(&comment)
    );
    restore.control.run(&sql, &doing).await
}

/// The copy of this attempt is not there, or is another's.
pub(crate) fn lost(copy: &str) -> SourceError {
    SourceError::retryable(
        format!("the copy {copy} is no longer the one that this attempt made"),
        "another attempt of the run has taken over",
    )
}

fn locale_hint(error: SourceError) -> SourceError {
    match error {
        SourceError::Failed { class, message, .. } if message.contains("locale") || message.contains("ICU") => SourceError::Failed {
            class,
            message,
            hint: "install the locale on the server's host (Debian: locales-all), or a PostgreSQL built with ICU".to_owned(),
        },
        other => other,
    }
}

/// CREATE DATABASE for a server of version `major`.
fn create_statement(name: &str, properties: &DatabaseProperties, major: u32) -> String {
    let mut sql = format!(
        "CREATE DATABASE {} WITH TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        ident(name),
        ident(&properties.owner),
        literal(&properties.encoding),
        literal(&properties.collate),
        literal(&properties.ctype),
    );
    // Naming it asks for a privilege on it, which not everybody has on the one that is taken anyway.
    if properties.tablespace != "pg_default" {
        sql.push_str(&format!(" TABLESPACE {}", ident(&properties.tablespace)));
    }
    if major >= HAS_PROVIDER {
        sql.push_str(&format!(
            " LOCALE_PROVIDER {}",
            ident(&properties.locale_provider)
        ));
        match (properties.locale_provider.as_str(), &properties.locale) {
            ("icu", Some(locale)) => sql.push_str(&format!(" ICU_LOCALE {}", literal(locale))),
            ("builtin", Some(locale)) => {
                sql.push_str(&format!(" BUILTIN_LOCALE {}", literal(locale)))
            }
            _ => {}
        }
    }
    if let Some(rules) = &properties.icu_rules
        && major >= HAS_ICU_RULES
    {
        sql.push_str(&format!(" ICU_RULES {}", literal(rules)));
    }
    sql
}

/// Settings, privileges and the connection limit, as they were. The comment and the template mark come with the swap.
pub(crate) async fn put_back_properties(
    restore: &Restore<'_>,
    target: &Target<'_>,
) -> Result<(), SourceError> {
    let properties = &target.manifest.properties;
    let session = &restore.control;
    let doing = format!("putting back what belongs to {}", properties.name);
    for setting in &properties.settings {
        session
            .run(&setting_statement(&target.copy, setting), &doing)
            .await?;
    }
    if let Some(acl) = &properties.acl {
        for statement in acl_statements(&target.copy, &properties.owner, acl) {
            session.run(&statement, &doing).await?;
        }
    }
    mark_run(restore, target).await;
    let limit = format!(
        "ALTER DATABASE {} CONNECTION LIMIT {}",
        ident(&target.copy),
        properties.connection_limit
    );
    session.run(&limit, &doing).await
}

/// Leaves the run's id where a later attempt of the same run finds it.
async fn mark_run(restore: &Restore<'_>, target: &Target<'_>) {
    let setting = Setting {
        role: None,
        name: catalog::RESTORED_BY.to_owned(),
        value: restore.context.run_id.clone(),
    };
    // Only a superuser may store a setting that no server knows. Without it the name of the safety copy has to do.
    if let Err(error) = restore
        .control
        .run(
            &setting_statement(&target.copy, &setting),
            "marking the copy",
        )
        .await
    {
        restore.context.reporter.log(
            "info",
            &format!("the restored database is not marked with its run: {error}"),
        );
    }
}

fn setting_statement(database: &str, setting: &Setting) -> String {
    let clause = set_clause(&setting.name, &setting.value);
    match &setting.role {
        Some(role) => format!(
            "ALTER ROLE {} IN DATABASE {}{clause}",
            ident(role),
            ident(database)
        ),
        None => format!("ALTER DATABASE {}{clause}", ident(database)),
    }
}

/// Takes the default privileges away and grants the stored ones in their order, each by its grantor.
fn acl_statements(database: &str, owner: &str, acl: &[AclItem]) -> Vec<String> {
    let database = ident(database);
    let mut statements = vec![
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!("REVOKE ALL ON DATABASE {database} FROM {}", ident(owner)),
    ];
    for item in acl {
        let grantee = item
            .grantee
            .as_ref()
            .map_or("PUBLIC".to_owned(), |role| ident(role));
        let option = if item.grantable {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        let grant = format!(
            "GRANT {} ON DATABASE {database} TO {grantee}{option}",
            item.privilege
        );
        statements.push(if item.grantor == owner {
            grant
        } else {
            format!("SET ROLE {}; {grant}; RESET ROLE", ident(&item.grantor))
        });
    }
    statements
}

/// What goes into the swap's transaction for a target that has its final name by then.
pub(crate) fn final_statements(target: &Target<'_>) -> Vec<String> {
    let properties = &target.manifest.properties;
    let comment = properties
        .comment
        .as_ref()
        .map_or("NULL".to_owned(), |comment| literal(comment));
    let mut statements = vec![format!(
        "COMMENT ON DATABASE {} IS {comment}",
        ident(&target.name)
    )];
    if properties.is_template {
        statements.push(format!(
            "ALTER DATABASE {} IS_TEMPLATE true",
            ident(&target.name)
        ));
    }
    statements
}

/// Takes the run's mark away: it is part of no database that was backed up.
pub(crate) async fn unmark(restore: &Restore<'_>, target: &Target<'_>) -> Result<(), SourceError> {
    if !is_marked(&restore.control, &target.name, &restore.context.run_id).await? {
        return Ok(());
    }
    let sql = format!(
        "ALTER DATABASE {} RESET {}",
        ident(&target.name),
        ident(catalog::RESTORED_BY)
    );
    restore
        .control
        .run(&sql, "taking the run's mark away")
        .await
}

/// Whether `database` carries the mark of this run.
pub(crate) async fn is_marked(
    control: &Session,
    database: &str,
    run_id: &str,
) -> Result<bool, SourceError> {
    let mark = catalog::database_setting(control, database, catalog::RESTORED_BY).await?;
    Ok(mark.as_deref() == Some(run_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties() -> DatabaseProperties {
        DatabaseProperties {
            name: "app".to_owned(),
            encoding: "UTF8".to_owned(),
            locale_provider: "libc".to_owned(),
            collate: "C".to_owned(),
            ctype: "C.utf8".to_owned(),
            tablespace: "pg_default".to_owned(),
            owner: "o'x".to_owned(),
            connection_limit: -1,
            ..DatabaseProperties::default()
        }
    }

    #[test]
    fn statements_fit_the_version() {
        let plain = create_statement("a\"b", &properties(), 14);
        assert_eq!(
            plain,
            "CREATE DATABASE \"a\"\"b\" WITH TEMPLATE template0 OWNER \"o'x\" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.utf8'"
        );
        let icu = DatabaseProperties {
            locale_provider: "icu".to_owned(),
            locale: Some("de-AT".to_owned()),
            icu_rules: Some("&a < g".to_owned()),
            ..properties()
        };
        assert!(
            create_statement("a", &icu, 15)
                .ends_with(" LOCALE_PROVIDER \"icu\" ICU_LOCALE 'de-AT'")
        );
        assert!(create_statement("a", &icu, 16).ends_with(" ICU_RULES '&a < g'"));
        let builtin = DatabaseProperties {
            locale_provider: "builtin".to_owned(),
            locale: Some("C.UTF-8".to_owned()),
            ..properties()
        };
        assert!(
            create_statement("a", &builtin, 17)
                .ends_with(" LOCALE_PROVIDER \"builtin\" BUILTIN_LOCALE 'C.UTF-8'")
        );
    }

    #[test]
    fn grants_keep_their_order_and_grantors() {
        let item = |grantor: &str, grantee: Option<&str>, grantable| AclItem {
            grantor: grantor.to_owned(),
            grantee: grantee.map(str::to_owned),
            privilege: "CONNECT".to_owned(),
            grantable,
        };
        let acl = [
            item("o", None, false),
            item("o", Some("a"), true),
            item("a", Some("b"), false),
        ];
        let statements = acl_statements("d", "o", &acl);
        assert_eq!(
            statements[2..],
            [
                "GRANT CONNECT ON DATABASE \"d\" TO PUBLIC",
                "GRANT CONNECT ON DATABASE \"d\" TO \"a\" WITH GRANT OPTION",
                "SET ROLE \"a\"; GRANT CONNECT ON DATABASE \"d\" TO \"b\"; RESET ROLE",
            ]
        );
    }
}
