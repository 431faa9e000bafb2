//! What the credentials of one run may do, as policies of the S3 world.
//!
//! A backup lists and gets in its own repository, puts where its objects go, and deletes its own
//! lock; it can neither replace keys nor configuration of an existing repository nor delete data.
//! A restore reads, and keeps a lock. On a plain bucket a put may still overwrite: append-only
//! holds only where versions, object lock or an enforced create-if-absent stand behind it.

use serde_json::{Value, json};

/// Where a backup puts objects, below its repository.
const BACKUP_PUTS: [&str; 5] = ["data/", "index/", "locks/", "log/", "snapshots/"];

/// The policy of a backup into `<bucket>/<repository>/`.
///
/// `keys/` and `config` are left out on purpose: a repository is created with credentials of the
/// vault, not of a run; see [`create_policy`].
pub fn backup_policy(bucket: &str, repository: &str) -> String {
    let puts = BACKUP_PUTS
        .iter()
        .map(|folder| below(bucket, repository, folder))
        .collect();
    policy(bucket, repository, puts)
}

/// The policy of the first backup of a source, which creates the repository as well.
pub fn create_policy(bucket: &str, repository: &str) -> String {
    let mut puts: Vec<String> = BACKUP_PUTS
        .iter()
        .map(|folder| below(bucket, repository, folder))
        .collect();
    puts.push(below(bucket, repository, "keys/"));
    puts.push(format!("{}config", root(bucket, repository)));
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
    fn a_backup_never_puts_keys_nor_deletes_data() {
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
        assert!(
            resources("s3:PutObject")
                .iter()
                .all(|r| !r.contains("keys") && !r.contains("config"))
        );
        assert_eq!(
            resources("s3:DeleteObject"),
            ["arn:aws:s3:::b/prod/orders/locks/*"]
        );
        assert_eq!(resources("s3:GetObject"), ["arn:aws:s3:::b/prod/orders/*"]);
    }
}
