//! `Debug` for messages that carry secrets: it shows what they are for, never the secret.

use std::fmt;

use crate::v1;

macro_rules! redacted {
    ($name:ident, $($field:ident),*) => {
        impl fmt::Debug for v1::$name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    };
}

redacted!(Grant, vault_address, repository, expires_at_micros);
redacted!(S3Access, endpoint, region);
redacted!(AddVaultRequest, name, address, endpoint, region, role_arn);
redacted!(AddVaultResponse, vault, findings);
redacted!(GetVaultKitResponse,);
redacted!(PresignedPut,);
redacted!(JoinRequest, token_id, version);
redacted!(InviteAgentResponse, expires_at_micros);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_prints_no_secret() {
        let grant = v1::Grant {
            vault_address: "s3://b/p".into(),
            repository_password: "open sesame".into(),
            s3: Some(v1::S3Access {
                secret_access_key: "hush".into(),
                session_token: "psst".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let text = format!("{:?}", v1::AgentMessage { message: None })
            + &format!(
                "{:?}",
                v1::GrantIssued {
                    grant: Some(grant),
                    ..Default::default()
                }
            );
        assert!(text.contains("s3://b/p"));
        for secret in ["sesame", "hush", "psst"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
