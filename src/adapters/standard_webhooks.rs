//! Signatures of Standard Webhooks, both ways: commands and messages are
//! signed with them, deliveries to us are checked by them.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::Timestamp;

/// How far a delivery's timestamp may lie from our clock, either way.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Header with the delivery's id, the same on every retry.
pub const ID_HEADER: &str = "webhook-id";
/// Header with the time of the attempt, in seconds since the Unix epoch.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header with the signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

const PREFIX: &str = "whsec_";
const KEY_BYTES_MIN: usize = 16;
const KEY_BYTES_MAX: usize = 64;
/// More signatures than any key rotation needs; the rest is not looked at.
const SIGNATURES_MAX: usize = 16;

/// A shared key. Shown nowhere.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// A secret that is no Standard Webhooks key. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not base64 behind the prefix.
    #[error(
        "the signing secret is not whsec_ followed by base64; make one with: echo whsec_$(head -c 32 /dev/urandom | base64)"
    )]
    NotBase64,
    /// Too short to be safe, or longer than the standard has it.
    #[error(
        "the signing secret has {bytes} bytes; 24 to 64 are needed: echo whsec_$(head -c 32 /dev/urandom | base64)"
    )]
    Length {
        /// How many it has.
        bytes: usize,
    },
}

impl SigningKey {
    /// Reads `whsec_<base64>`; the prefix may be absent.
    ///
    /// # Errors
    /// If it is not base64, or has fewer than 16 or more than 64 bytes.
    pub fn parse(secret: &SecretString) -> Result<Self, InvalidKey> {
        let text = secret.expose_secret().trim();
        let coded = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = STANDARD.decode(coded).map_err(|_| InvalidKey::NotBase64)?;
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) {
            return Err(InvalidKey::Length { bytes: bytes.len() });
        }
        Ok(Self(SecretSlice::from(bytes)))
    }

    fn mac(&self, id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()) else {
            return String::new();
        };
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp_seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// The value of `webhook-signature`: one signature a key, so that receivers
/// can change to a new key while the old one still counts.
pub fn sign(keys: &[SigningKey], id: &str, at: Timestamp, body: &[u8]) -> String {
    let seconds = timestamp_seconds(at);
    let signatures: Vec<String> =
        keys.iter().map(|key| format!("v1,{}", key.mac(id, seconds, body))).collect();
    signatures.join(" ")
}

/// The value of `webhook-timestamp`.
pub fn timestamp_seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}

/// Why a delivery is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The timestamp header is no number.
    #[error("webhook-timestamp is not a number of seconds since 1970")]
    Timestamp,
    /// Too old or too far ahead.
    #[error("webhook-timestamp is more than five minutes from this machine's clock")]
    Stale,
    /// No signature fits.
    #[error("no signature in webhook-signature fits the body and a known key")]
    Signature,
}

/// Checks a delivery to us, in constant time for each pair of key and
/// signature. Replays within the tolerance are the caller's to refuse, by id.
///
/// # Errors
/// If the time is off or no signature fits.
pub fn verify(
    keys: &[SigningKey],
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Rejected> {
    let seconds: i64 = timestamp.trim().parse().map_err(|_| Rejected::Timestamp)?;
    let off = timestamp_seconds(now).saturating_sub(seconds).unsigned_abs();
    if off > TOLERANCE.as_secs() {
        return Err(Rejected::Stale);
    }
    let mut fits = subtle::Choice::from(0);
    for key in keys {
        let expected = key.mac(id, seconds, body);
        for given in signatures.split(' ').take(SIGNATURES_MAX).filter_map(|given| given.strip_prefix("v1,"))
        {
            fits |= expected.as_bytes().ct_eq(given.as_bytes());
        }
    }
    if bool::from(fits) && !keys.is_empty() { Ok(()) } else { Err(Rejected::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn key(text: &str) -> SigningKey {
        SigningKey::parse(&SecretString::from(text)).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_published_vector_is_signed_and_verified() {
        let keys = [key(SECRET)];
        assert_eq!(sign(&keys, ID, at(1_649_367_553), BODY), SIGNATURE);
        assert_eq!(verify(&keys, ID, "1649367553", SIGNATURE, BODY, at(1_649_367_600)), Ok(()));
    }

    #[test]
    fn during_a_rotation_both_keys_sign_and_either_verifies() {
        let (old, new) = (key(SECRET), key("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"));
        let both = sign(&[old.clone(), new.clone()], ID, at(1000), BODY);
        assert_eq!(both.split(' ').count(), 2);
        for keys in [[old], [new]] {
            assert_eq!(verify(&keys, ID, "1000", &both, BODY, at(1000)), Ok(()));
        }
    }

    #[test]
    fn a_changed_body_a_wrong_key_and_no_key_are_rejected() {
        let wrong = key("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
        let now = at(1_649_367_553);
        assert_eq!(verify(&[key(SECRET)], ID, "1649367553", SIGNATURE, b"{}", now), Err(Rejected::Signature));
        assert_eq!(verify(&[wrong], ID, "1649367553", SIGNATURE, BODY, now), Err(Rejected::Signature));
        assert_eq!(verify(&[], ID, "1649367553", SIGNATURE, BODY, now), Err(Rejected::Signature));
        assert_eq!(verify(&[key(SECRET)], ID, "1649367553", "", BODY, now), Err(Rejected::Signature));
    }

    #[test]
    fn stale_future_and_malformed_times_are_rejected() {
        let keys = [key(SECRET)];
        for (timestamp, expected) in [
            ("1649367252", Rejected::Stale),
            ("1649367854", Rejected::Stale),
            ("-9223372036854775808", Rejected::Stale),
            ("soon", Rejected::Timestamp),
        ] {
            let result = verify(&keys, ID, timestamp, SIGNATURE, BODY, at(1_649_367_553));
            assert_eq!(result, Err(expected), "{timestamp}");
        }
    }

    #[test]
    fn a_bad_secret_is_refused_without_being_shown() {
        for (text, bytes) in [("whsec_!!", None), ("whsec_c2hvcnQ=", Some(5))] {
            let error = SigningKey::parse(&SecretString::from(text)).unwrap_err();
            assert!(!error.to_string().contains(&text[6..]), "{error}");
            if let Some(bytes) = bytes {
                assert_eq!(error, InvalidKey::Length { bytes });
            }
        }
        assert_eq!(format!("{:?}", key(SECRET)), "SigningKey(..)");
    }

    #[test]
    fn signatures_agree_with_the_reference_implementation() {
        let reference = standardwebhooks::Webhook::new(SECRET).unwrap();
        let theirs = reference.sign("m-1", 1_700_000_000, "购物车".as_bytes()).unwrap();
        assert_eq!(sign(&[key(SECRET)], "m-1", at(1_700_000_000), "购物车".as_bytes()), theirs);
    }
}
