//! A grant as this process keeps it: in memory, for one run, by this machine's monotonic clock.
//!
//! The coordinator says when a grant ends by its own clock, and what its clock showed; only the difference is used,
//! so a clock that is an hour off on this host neither ends a grant early nor keeps it too long.

use std::fmt;
use std::time::Duration;

use holdfast_proto::convert::{self, Malformed};
use holdfast_proto::v1;
use holdfast_vault::{CredentialsCell, S3Credentials, S3Endpoint, VaultAddress};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio::time::Instant;

/// When a grant is to be renewed and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantTimes {
    /// Half of its life; `None`: it does not end.
    pub renew_at: Option<Instant>,
    /// Its end; `None`: never.
    pub ends_at: Option<Instant>,
    /// How long an unanswered request for the next one waits before it is repeated.
    pub retry_every: Duration,
}

impl GrantTimes {
    /// A grant that does not end.
    pub const ENDLESS: Self = Self {
        renew_at: None,
        ends_at: None,
        retry_every: Duration::from_secs(60),
    };

    /// A grant for `life` from `now` on.
    #[must_use]
    pub fn lasting(life: Duration, now: Instant) -> Self {
        Self {
            renew_at: Some(now + life / 2),
            ends_at: Some(now + life),
            retry_every: (life / 20).clamp(Duration::from_millis(200), Duration::from_secs(60)),
        }
    }
}

/// What one run may use. Clones share the credentials: a renewal reaches all of them.
#[derive(Clone)]
pub struct RunGrant {
    /// The vault.
    pub vault: VaultAddress,
    /// The repository's folder in it.
    pub repository: String,
    /// How an S3 vault is reached.
    pub s3: Option<(S3Endpoint, CredentialsCell)>,
    /// Opens the repository.
    pub password: SecretString,
}

impl fmt::Debug for RunGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunGrant")
            .field("vault", &self.vault)
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

impl RunGrant {
    /// Reads what came with an assignment, received at `now`.
    pub fn read(grant: v1::Grant, now: Instant) -> Result<(Self, GrantTimes), Malformed> {
        let life = life(&grant)?;
        let vault: VaultAddress = grant
            .vault_address
            .parse()
            .map_err(|error| Malformed::invalid("grant.vault_address", error))?;
        let s3 = match (&vault, grant.s3) {
            (VaultAddress::S3 { .. }, Some(access)) => Some(read_access(access, life)?),
            (VaultAddress::S3 { .. }, None) => return Err(Malformed::Missing("grant.s3")),
            (VaultAddress::File { .. }, _) => None,
        };
        if grant.repository_password.is_empty() {
            return Err(Malformed::Missing("grant.repository_password"));
        }
        let run_grant = Self {
            vault,
            repository: convert::name("grant.repository", &grant.repository)?,
            s3: s3.map(|(endpoint, credentials)| (endpoint, CredentialsCell::new(credentials))),
            password: grant.repository_password.into(),
        };
        Ok((run_grant, times(life, now)))
    }

    /// Takes the credentials of a newer grant for the same run.
    pub fn renew(&self, grant: v1::Grant, now: Instant) -> Result<GrantTimes, Malformed> {
        let life = life(&grant)?;
        match (&self.s3, grant.s3) {
            (Some((_, cell)), Some(access)) => cell.replace(read_access(access, life)?.1),
            (Some(_), None) => return Err(Malformed::Missing("grant.s3")),
            (None, _) => {}
        }
        Ok(times(life, now))
    }
}

fn times(life: Option<Duration>, now: Instant) -> GrantTimes {
    life.map_or(GrantTimes::ENDLESS, |life| GrantTimes::lasting(life, now))
}

/// How long the grant lasts; `None`: it does not end.
fn life(grant: &v1::Grant) -> Result<Option<Duration>, Malformed> {
    if grant.expires_at_micros == 0 {
        return Ok(None);
    }
    let micros = grant
        .expires_at_micros
        .saturating_sub(grant.issued_at_micros);
    match u64::try_from(micros) {
        Ok(micros) if micros > 0 && grant.issued_at_micros > 0 => {
            Ok(Some(Duration::from_micros(micros)))
        }
        _ => Err(Malformed::invalid(
            "grant.expires_at_micros",
            "it ends before it was issued",
        )),
    }
}

fn read_access(
    access: v1::S3Access,
    life: Option<Duration>,
) -> Result<(S3Endpoint, S3Credentials), Malformed> {
    if access.access_key_id.is_empty() || access.secret_access_key.is_empty() {
        return Err(Malformed::Missing("grant.s3.access_key_id"));
    }
    let endpoint = S3Endpoint {
        endpoint: Some(access.endpoint).filter(|text| !text.is_empty()),
        region: access.region,
        path_style: access.path_style,
    };
    let expires_at = life
        .and_then(|life| SignedDuration::try_from(life).ok())
        .and_then(|life| Timestamp::now().checked_add(life).ok());
    let credentials = S3Credentials {
        access_key_id: access.access_key_id,
        secret_access_key: access.secret_access_key.into(),
        session_token: Some(access.session_token)
            .filter(|text| !text.is_empty())
            .map(SecretString::from),
        expires_at,
    };
    Ok((endpoint, credentials))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(key: &str, issued: i64, expires: i64) -> v1::Grant {
        v1::Grant {
            vault_address: "s3://backups/prod".into(),
            repository: "orders-db".into(),
            s3: Some(v1::S3Access {
                region: "eu".into(),
                access_key_id: key.into(),
                secret_access_key: "hush".into(),
                ..Default::default()
            }),
            repository_password: "sesame".into(),
            issued_at_micros: issued,
            expires_at_micros: expires,
        }
    }

    #[test]
    fn only_the_difference_of_the_coordinators_times_counts() {
        let now = Instant::now();
        // A coordinator that believes in 1970: its hour is still an hour.
        let (_, times) = RunGrant::read(grant("a", 1, 3_600_000_001), now).expect("valid");
        assert_eq!(times.renew_at, Some(now + Duration::from_secs(1800)));
        assert_eq!(times.ends_at, Some(now + Duration::from_secs(3600)));
        let (_, times) = RunGrant::read(grant("a", 5, 0), now).expect("valid");
        assert_eq!(times, GrantTimes::ENDLESS);
        assert!(RunGrant::read(grant("a", 10, 5), now).is_err());
    }

    #[test]
    fn a_renewal_reaches_every_clone() {
        let now = Instant::now();
        let (first, _) = RunGrant::read(grant("first", 0, 0), now).expect("valid");
        let clone = first.clone();
        first.renew(grant("second", 0, 0), now).expect("valid");
        let (_, cell) = clone.s3.expect("an S3 vault");
        assert_eq!(cell.current().access_key_id, "second");
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is_printed() {
        let now = Instant::now();
        let mut without = grant("a", 0, 0);
        without.s3 = None;
        let error = RunGrant::read(without, now).expect_err("no access");
        assert!(error.to_string().contains("grant.s3"), "{error}");
        let mut relative = grant("a", 0, 0);
        relative.repository = "../other".into();
        let error = RunGrant::read(relative, now).expect_err("leaves the vault");
        assert!(error.to_string().contains("grant.repository"), "{error}");
        let (grant, _) = RunGrant::read(grant("a", 0, 0), now).expect("valid");
        assert!(!format!("{grant:?}").contains("sesame"));
    }
}
