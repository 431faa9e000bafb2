//! The recovery kit: the text an operator prints and keeps, from which everything comes back with
//! nothing of ours.
//!
//! The text is meant for people first: the facts, then the steps with `openssl` and stock
//! `restic`. [`RecoveryKit::parse`] reads the facts back out of the same text, so that the paper
//! is also the file that recovery without a coordinator takes.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::address::{S3Endpoint, VaultAddress};
use crate::password::{PASSWORD_CONTEXT, repository_password};

const TITLE: &str = "HOLDFAST RECOVERY KIT";

/// What opens every repository of one vault.
///
/// `Display` renders the secret: it is for the operator's eyes, never for logs. `Debug` hides it.
#[derive(Clone, Debug)]
pub struct RecoveryKit {
    /// The vault's name.
    pub vault: String,
    /// Where it is.
    pub address: VaultAddress,
    /// How its server is reached; `None` for a folder.
    pub endpoint: Option<S3Endpoint>,
    /// What all passwords derive from.
    pub secret: SecretString,
    /// The sources known when the kit was printed. Later ones open the same way.
    pub sources: Vec<String>,
}

/// Why a text is not a recovery kit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a whole recovery kit: {0}")]
pub struct InvalidKit(String);

impl RecoveryKit {
    /// The password of one source's repository.
    pub fn password(&self, source: &str) -> SecretString {
        repository_password(&self.secret, source)
    }

    /// Reads a kit as `Display` printed it; other lines are skipped.
    pub fn parse(text: &str) -> Result<RecoveryKit, InvalidKit> {
        if !text.contains(TITLE) {
            return Err(InvalidKit(format!("the line {TITLE:?} is missing")));
        }
        let fact = |name: &str| text.lines().find_map(|line| value_of(line, name));
        let need = |name: &str| {
            fact(name).ok_or_else(|| InvalidKit(format!("the line `{name}:` is missing")))
        };
        let address: VaultAddress = need("address")?
            .parse()
            .map_err(|error| InvalidKit(format!("{error}")))?;
        let secret = need("secret")?;
        if secret.is_empty() || !secret.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(InvalidKit("the secret is not hexadecimal".to_owned()));
        }
        let endpoint = fact("region").map(|region| S3Endpoint {
            endpoint: fact("endpoint").map(str::to_owned),
            region: region.to_owned(),
            path_style: fact("path style") == Some("yes"),
        });
        let sources = fact("sources").unwrap_or_default();
        Ok(RecoveryKit {
            vault: need("vault")?.to_owned(),
            address,
            endpoint,
            secret: SecretString::from(secret),
            sources: sources
                .split(", ")
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// The repository of `source` as restic's `-r` takes it.
    pub fn restic_repository(&self, source: &str) -> String {
        match (&self.address, &self.endpoint) {
            (VaultAddress::File { path }, _) => path.join(source).display().to_string(),
            (VaultAddress::S3 { bucket, prefix }, endpoint) => {
                let server = endpoint
                    .as_ref()
                    .and_then(|endpoint| endpoint.endpoint.as_deref())
                    .unwrap_or("https://s3.amazonaws.com");
                let parts = [bucket.as_str(), prefix.as_str(), source];
                let path: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                format!("s3:{}/{}", server.trim_end_matches('/'), path.join("/"))
            }
        }
    }
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    Some(line.strip_prefix(name)?.strip_prefix(':')?.trim())
}

impl fmt::Display for RecoveryKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\n")?;
        writeln!(
            f,
            "Whoever holds this page and can read the storage can read every backup in it."
        )?;
        writeln!(f, "Keep it offline, in two places.\n")?;
        writeln!(f, "vault:      {}", self.vault)?;
        writeln!(f, "address:    {}", self.address)?;
        if let Some(endpoint) = &self.endpoint {
            if let Some(url) = &endpoint.endpoint {
                writeln!(f, "endpoint:   {url}")?;
            }
            writeln!(f, "region:     {}", endpoint.region)?;
            writeln!(
                f,
                "path style: {}",
                if endpoint.path_style { "yes" } else { "no" }
            )?;
        }
        writeln!(f, "secret:     {}", self.secret.expose_secret())?;
        writeln!(f, "sources:    {}\n", self.sources.join(", "))?;
        self.write_steps(f)
    }
}

impl RecoveryKit {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.sources.first().map_or("SOURCE", String::as_str);
        writeln!(
            f,
            "To restore without Holdfast (openssl and restic 0.14 or later):\n"
        )?;
        writeln!(
            f,
            "1. The password of a source's repository, here {source}:"
        )?;
        writeln!(
            f,
            "   export RESTIC_PASSWORD=$(printf %s '{PASSWORD_CONTEXT}{source}' \\"
        )?;
        writeln!(
            f,
            "     | openssl dgst -r -sha256 -hmac {} | cut -d' ' -f1)",
            self.secret.expose_secret()
        )?;
        if self.endpoint.is_some() {
            writeln!(f, "2. The storage's own credentials, from your provider:")?;
            writeln!(
                f,
                "   export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=..."
            )?;
        } else {
            writeln!(
                f,
                "2. Be able to read the folder (mount it, or copy it back)."
            )?;
        }
        let repository = self.restic_repository(source);
        let region = self
            .endpoint
            .as_ref()
            .map(|endpoint| format!(" -o s3.region={}", endpoint.region));
        let options = region.unwrap_or_default();
        writeln!(f, "3. What is there, and all of the newest snapshot:")?;
        writeln!(f, "   restic -r {repository}{options} snapshots")?;
        writeln!(
            f,
            "   restic -r {repository}{options} restore latest --target ./restored"
        )?;
        writeln!(f, "   (on storage that you may only read, add --no-lock)")?;
        writeln!(
            f,
            "4. A PostgreSQL source's snapshot holds globals.sql, one custom-format dump per"
        )?;
        writeln!(
            f,
            "   database and manifest.json: psql -f globals.sql, then pg_restore -C -d postgres."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kit(address: &str, endpoint: Option<S3Endpoint>) -> RecoveryKit {
        RecoveryKit {
            vault: "primary".to_owned(),
            address: address.parse().expect("valid"),
            endpoint,
            secret: SecretString::from("00ff".repeat(16)),
            sources: vec!["orders-db".to_owned(), "sessions".to_owned()],
        }
    }

    #[test]
    fn the_printed_text_is_read_back() {
        let endpoint = S3Endpoint::new(Some("http://127.0.0.1:8333".to_owned()), "us-east-1");
        for kit in [
            kit("s3://backups/prod", Some(endpoint)),
            kit("file:///srv/vault", None),
        ] {
            let read = RecoveryKit::parse(&kit.to_string()).expect("parses");
            assert_eq!(read.vault, kit.vault);
            assert_eq!(read.address, kit.address);
            assert_eq!(read.endpoint, kit.endpoint);
            assert_eq!(read.sources, kit.sources);
            assert_eq!(read.secret.expose_secret(), kit.secret.expose_secret());
            assert!(!format!("{kit:?}").contains("00ff00ff"), "{kit:?}");
        }
    }

    #[test]
    fn a_torn_page_is_refused_naming_the_missing_line() {
        let text = kit("file:///srv/vault", None)
            .to_string()
            .replace("secret:", "s-----:");
        let error = RecoveryKit::parse(&text).expect_err("refused");
        assert!(error.to_string().contains("`secret:`"), "{error}");
    }
}
