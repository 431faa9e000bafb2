//! What the credentials of one run may do, as policies of the S3 world.
//!
//! A backup lists and gets in its own repository, puts where its objects go, and deletes its own lock. Keys and
//! configuration are made once with the vault's own credentials, and the snapshot itself goes by a request that the
//! coordinator signs when it permits the commit ([`crate::presign_put`]): so a run that lost its epoch, or a thief,
//! has no right to write one. A restore reads, and keeps a lock. On a plain bucket a put may still overwrite:
//! append-only holds only where versions, object lock or an enforced create-if-absent stand behind it.

use serde_json::{Value, json};

/// Where a backup puts objects, below its repository.
const BACKUP_PUTS: [&str; 4] = ["data/", "index/", "locks/", "log/"];

/// The policy of a backup into `<bucket>/<repository>/`; `repository` includes the vault's prefix.
pub fn backup_policy(bucket: &str, repository: &str) -> String {
    let puts = BACKUP_PUTS
        .iter()
        .map(|folder| below(bucket, repository, folder))
        .collect();
    policy(bucket, repository, puts)
}

/// The policy of a restore or a verification of `<bucket>/<repository>/`.
pub fn restore_policy(bucket: &str, repository: &str) -> String {
    policy(
        bucket,
        repository,
        vec![below(bucket, repository, "locks/")],
    )
}

fn policy(bucket: &str, repository: &str, puts: Vec<String>) -> String {
    let repository = repository.trim_matches('/');
    let statement = |actions: &[&str], resources: Vec<String>| -> Value {
        json!({ "Effect": "Allow", "Action": actions, "Resource": resources })
    };
    let mut list = statement(&["s3:ListBucket"], vec![format!("arn:aws:s3:::{bucket}")]);
    list["Condition"] = json!({ "StringLike": { "s3:prefix": [format!("{repository}/*")] } });
    let statements = [
        list,
        statement(&["s3:GetObject"], vec![below(bucket, repository, "")]),
        statement(&["s3:PutObject"], puts),
        statement(
            &["s3:DeleteObject"],
            vec![below(bucket, repository, "locks/")],
        ),
    ];
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn root(bucket: &str, repository: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{}/", repository.trim_matches('/'))
}

fn below(bucket: &str, repository: &str, folder: &str) -> String {
    format!("{}{folder}*", root(bucket, repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_never_puts_keys_or_snapshots_nor_deletes_data() {
        let policy: Value = serde_json::from_str(&backup_policy("b", "prod/orders")).expect("json");
        let statements = policy["Statement"].as_array().expect("statements");
        let resources = |action: &str| -> Vec<String> {
            let has = |s: &&Value| {
                s["Action"]
                    .as_array()
                    .is_some_and(|a| a.contains(&json!(action)))
            };
            let found = statements.iter().find(has).expect(action);
            serde_json::from_value(found["Resource"].clone()).expect("strings")
        };
        assert!(resources("s3:PutObject").iter().all(|r| {
            !["keys", "config", "snapshots"]
                .iter()
                .any(|word| r.contains(word))
        }));
        assert_eq!(
            resources("s3:DeleteObject"),
            ["arn:aws:s3:::b/prod/orders/locks/*"]
        );
        assert_eq!(resources("s3:GetObject"), ["arn:aws:s3:::b/prod/orders/*"]);
    }
}
