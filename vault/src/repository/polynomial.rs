//! The chunker polynomial that restic keeps in a repository's configuration.
//!
//! restic cuts files by Rabin fingerprints over GF(2) and refuses a configuration whose polynomial
//! is not irreducible of degree 53 (restic/chunker, `RandomPolynomial`). We cut otherwise, but an
//! operator's own restic may write into the same repository, so the polynomial has to be a good
//! one. It is secret and sealed with the configuration, which makes it the seed of our chunker too.

use crate::password::random;

/// Degree of every chunker polynomial.
const DEGREE: u32 = 53;

/// A random irreducible polynomial of degree 53; bit i is the coefficient of x^i.
pub(crate) fn generate() -> u64 {
    loop {
        let mut bytes = [0; 8];
        random(&mut bytes);
        // Degree 53, and a constant term: without it x divides.
        let candidate = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1) | 1 << DEGREE | 1;
        if is_irreducible(candidate) {
            return candidate;
        }
    }
}

/// Ben-Or's test: no polynomial of degree up to half of `f`'s divides it.
pub(crate) fn is_irreducible(f: u64) -> bool {
    let Some(degree) = degree(f).filter(|degree| (1..=DEGREE).contains(degree)) else {
        return false;
    };
    let x = 2;
    let mut power = x;
    for _ in 0..degree / 2 {
        power = multiply_modulo(power, power, f);
        if gcd(f, power ^ x) != 1 {
            return false;
        }
    }
    true
}

fn degree(f: u64) -> Option<u32> {
    f.checked_ilog2()
}

fn modulo(mut a: u64, f: u64) -> u64 {
    let Some(degree_f) = degree(f) else { return a };
    while let Some(degree_a) = degree(a).filter(|degree| *degree >= degree_f) {
        a ^= f << (degree_a - degree_f);
    }
    a
}

/// `a * b mod f`, for `a` and `b` of lower degree than `f`.
fn multiply_modulo(mut a: u64, mut b: u64, f: u64) -> u64 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a = modulo(a << 1, f);
    }
    product
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, modulo(a, b));
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_polynomials_are_told_apart() {
        // x^2+x+1, x^3+x+1, and the one of restic's own documentation.
        for good in [0b111, 0b1011, 0x25_b468_838d_cb75] {
            assert!(is_irreducible(good), "{good:x}");
        }
        // x^2+1 = (x+1)^2, x^4+x^2+1 = (x^2+x+1)^2, an even one, constants.
        for bad in [0b101, 0b10101, 0x25_b468_838d_cb74, 1, 0] {
            assert!(!is_irreducible(bad), "{bad:x}");
        }
    }

    #[test]
    fn every_repository_gets_its_own() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        assert_eq!(degree(one), Some(DEGREE));
    }
}
