//! From when to when a certificate holds, and when to renew it.
//!
//! A certificate begins 24 hours before it is issued, so that a host whose clock is late can use it at once.
//! "Two thirds of its life" is counted from the true beginning: a short-lived certificate whose backdated
//! day is most of its span would otherwise be due for renewal the moment it is issued, for ever.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::error::IdentityError;

/// How far the beginning is put back.
pub const BACKDATED: SignedDuration = SignedDuration::from_hours(24);

/// The span of a certificate, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Validity {
    /// Valid for `lifetime` from `now` on, backdated 24 h.
    pub fn starting(now: Timestamp, lifetime: Duration) -> Result<Self, IdentityError> {
        let lifetime = SignedDuration::try_from(lifetime).map_err(out_of_range)?;
        let not_before = now.checked_sub(BACKDATED).map_err(out_of_range)?;
        Self::between(not_before, now.checked_add(lifetime).map_err(out_of_range)?)
    }

    /// Valid exactly from `not_before` to `not_after`: for tests of what has already run out.
    pub fn between(not_before: Timestamp, not_after: Timestamp) -> Result<Self, IdentityError> {
        let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).map_err(out_of_range);
        let (not_before, not_after) = (whole(not_before)?, whole(not_after)?);
        if not_after <= not_before {
            return Err(IdentityError::Validity {
                reason: format!("it would end ({not_after}) before it begins ({not_before})"),
            });
        }
        Ok(Self {
            not_before,
            not_after,
        })
    }

    /// The first moment.
    pub fn not_before(self) -> Timestamp {
        self.not_before
    }

    /// The last moment.
    pub fn not_after(self) -> Timestamp {
        self.not_after
    }

    /// When two thirds of the life are over.
    pub fn renew_at(self) -> Timestamp {
        let issued = self.not_before.saturating_add(BACKDATED);
        let issued = issued.unwrap_or(self.not_before).min(self.not_after);
        let life = self.not_after.duration_since(issued);
        issued.saturating_add(life / 3 * 2).unwrap_or(issued)
    }

    /// The same span, cut where the issuer's own ends.
    pub(crate) fn cut_at(self, end: Timestamp) -> Result<Self, IdentityError> {
        Self::between(self.not_before, self.not_after.min(end))
    }
}

fn out_of_range(error: jiff::Error) -> IdentityError {
    IdentityError::Validity {
        reason: format!("its dates are out of range ({error})"),
    }
}
