//! Signed links: what one may do, to which release, until when. Pure; the
//! pages that use them are in `pages`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use url::Url;

use crate::domain::{ReleaseKey, Timestamp};

use super::message::{Message, MessageKind, short_hash};

/// Longest token that is looked at, in bytes: two names of 253 bytes in JSON,
/// coded, and some room.
const TOKEN_BYTES_MAX: usize = 4096;
/// Shortest secret that links are signed with, in bytes.
const SECRET_BYTES_MIN: usize = 16;
/// Keeps these signatures apart from all others made with the same secret.
const PURPOSE: &[u8] = b"release-guardian link 1\n";

/// What a link does once it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkAction {
    /// Somebody looks at it: no escalation.
    Acknowledge,
    /// The release goes on.
    Resume,
    /// The old version comes back.
    Rollback,
    /// Feedback: the guardian was right.
    FaultConfirmed,
    /// Feedback: the guardian was wrong.
    FalseAlarm,
}

impl LinkAction {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Acknowledge, Self::Resume, Self::Rollback, Self::FaultConfirmed, Self::FalseAlarm];

    /// The word in tokens, logs and webhooks.
    pub fn word(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Resume => "resume",
            Self::Rollback => "rollback",
            Self::FaultConfirmed => "fault_confirmed",
            Self::FalseAlarm => "false_alarm",
        }
    }

    /// Which links a message of `kind` carries.
    pub fn of(kind: MessageKind) -> &'static [Self] {
        match kind {
            MessageKind::Pausing | MessageKind::Paused | MessageKind::Unacknowledged => &Self::ALL,
            MessageKind::Advice => &[Self::Rollback, Self::FaultConfirmed, Self::FalseAlarm],
            MessageKind::RollingBack | MessageKind::RolledBack => &[Self::FaultConfirmed, Self::FalseAlarm],
            MessageKind::Blind => &[Self::Acknowledge, Self::Resume, Self::Rollback],
            MessageKind::CommandFailed => {
                &[Self::Acknowledge, Self::Rollback, Self::FaultConfirmed, Self::FalseAlarm]
            }
            MessageKind::Course | MessageKind::ChannelFailing | MessageKind::Test => &[],
        }
    }
}

/// A link in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it does.
    pub action: LinkAction,
    /// Where it leads.
    pub url: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which release.
    pub release: ReleaseKey,
    /// What may be done.
    pub action: LinkAction,
    /// Until when, in whole seconds.
    pub expires_at: Timestamp,
    /// The same in all copies of one message, so that a claim is used once
    /// over all channels.
    pub nonce: String,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    r: ReleaseKey,
    a: LinkAction,
    e: i64,
    n: String,
}

/// Why a token is not taken. Says nothing that helps to guess one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefused {
    /// Cut, changed, or signed by nobody we know.
    #[error("this link is not valid; it may have been cut when it was copied")]
    Forged,
    /// Too old.
    #[error("this link has expired")]
    Expired,
}

/// A secret that is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a link secret has {bytes} bytes; at least {SECRET_BYTES_MIN} are needed: head -c 32 /dev/urandom | base64"
)]
pub struct WeakSecret {
    bytes: usize,
}

/// Signs links and checks them.
#[derive(Clone, Debug)]
pub struct LinkSigner {
    /// The first signs, all are believed.
    secrets: Vec<SecretString>,
    base: Url,
    valid_for: Duration,
}

impl LinkSigner {
    /// A signer whose links lie below `public_url`; none without a secret.
    ///
    /// # Errors
    /// If a secret is shorter than 16 bytes.
    pub fn new(
        secrets: Vec<SecretString>,
        public_url: &Url,
        valid_for: Duration,
    ) -> Result<Option<Self>, WeakSecret> {
        if let Some(weak) = secrets.iter().find(|secret| secret.expose_secret().len() < SECRET_BYTES_MIN) {
            return Err(WeakSecret { bytes: weak.expose_secret().len() });
        }
        if secrets.is_empty() {
            return Ok(None);
        }
        let mut base = public_url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Some(Self { secrets, base, valid_for }))
    }

    /// The links of a message that is sent at `now`.
    pub fn links(&self, message: &Message, now: Timestamp) -> Vec<Link> {
        let Some(release) = &message.release else { return Vec::new() };
        LinkAction::of(message.kind)
            .iter()
            .map(|&action| {
                let claim = Claim {
                    release: release.clone(),
                    action,
                    expires_at: now + self.valid_for,
                    nonce: short_hash(&[&message.id, action.word()]),
                };
                Link { action, url: format!("{}links/{}", self.base, self.token(&claim)) }
            })
            .collect()
    }

    /// The signed form of a claim: `<payload>.<signature>`, both base64url.
    pub fn token(&self, claim: &Claim) -> String {
        let payload = Payload {
            r: claim.release.clone(),
            a: claim.action,
            e: claim.expires_at.as_millis().div_euclid(1000),
            n: claim.nonce.clone(),
        };
        // Strings and numbers always have a JSON form.
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&payload).unwrap_or_default());
        let signature = self.secrets.first().map(|secret| mac(secret, &payload)).unwrap_or_default();
        format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a token says, if it is ours and not too old.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Claim, LinkRefused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(LinkRefused::Forged);
        }
        let (payload, signature) = token.split_once('.').ok_or(LinkRefused::Forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| LinkRefused::Forged)?;
        let mut fits = subtle::Choice::from(0);
        for secret in &self.secrets {
            fits |= mac(secret, payload).as_slice().ct_eq(&signature);
        }
        if !bool::from(fits) {
            return Err(LinkRefused::Forged);
        }
        // Only now is the content looked at: it is our own.
        let bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| LinkRefused::Forged)?;
        let payload: Payload = serde_json::from_slice(&bytes).map_err(|_| LinkRefused::Forged)?;
        let expires_at = Timestamp::from_millis(payload.e.saturating_mul(1000));
        if now >= expires_at {
            return Err(LinkRefused::Expired);
        }
        Ok(Claim { release: payload.r, action: payload.a, expires_at, nonce: payload.n })
    }
}

fn mac(secret: &SecretString, payload: &str) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return Vec::new();
    };
    mac.update(PURPOSE);
    mac.update(payload.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ApplicationName, ReleaseId};
    use proptest::prelude::*;

    fn signer(secrets: &[&str]) -> LinkSigner {
        let secrets = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        let base = Url::parse("https://guardian.example.com/g").unwrap();
        LinkSigner::new(secrets, &base, Duration::from_secs(3600)).unwrap().unwrap()
    }

    fn claim() -> Claim {
        Claim {
            release: ReleaseKey {
                application: ApplicationName::new("购物车").unwrap(),
                id: ReleaseId::new("r/1").unwrap(),
            },
            action: LinkAction::Resume,
            expires_at: Timestamp::from_millis(2_000_000),
            nonce: "n".to_owned(),
        }
    }

    const OLD: &str = "0123456789abcdef-old";
    const NEW: &str = "0123456789abcdef-new";

    #[test]
    fn a_claim_is_read_back_until_it_expires() {
        let signer = signer(&[OLD]);
        let token = signer.token(&claim());
        assert_eq!(signer.check(&token, Timestamp::from_millis(1_999_999)), Ok(claim()));
        assert_eq!(signer.check(&token, Timestamp::from_millis(2_000_000)), Err(LinkRefused::Expired));
    }

    #[test]
    fn after_a_rotation_old_links_still_work_and_new_ones_are_signed_anew() {
        let now = Timestamp::from_millis(0);
        let both = signer(&[NEW, OLD]);
        assert!(both.check(&signer(&[OLD]).token(&claim()), now).is_ok());
        assert!(signer(&[NEW]).check(&both.token(&claim()), now).is_ok());
        assert_eq!(signer(&[OLD]).check(&both.token(&claim()), now), Err(LinkRefused::Forged));
    }

    #[test]
    fn a_short_secret_is_refused_and_no_secret_makes_no_links() {
        let base = Url::parse("http://localhost").unwrap();
        let make = |secrets| LinkSigner::new(secrets, &base, Duration::from_secs(1));
        assert_eq!(make(vec![SecretString::from("short")]).unwrap_err(), WeakSecret { bytes: 5 });
        assert!(make(vec![]).unwrap().is_none());
    }

    #[test]
    fn links_of_one_message_share_their_nonce_over_channels_and_lie_below_the_public_url() {
        let signer = signer(&[OLD]);
        let mut message = Message::test(Timestamp::from_millis(0));
        message.kind = MessageKind::Paused;
        message.release = Some(claim().release);
        let first = signer.links(&message, Timestamp::from_millis(0));
        let later = signer.links(&message, Timestamp::from_millis(5_000));
        assert_eq!(first.len(), 5);
        let nonce = |link: &Link| {
            let token = link.url.strip_prefix("https://guardian.example.com/g/links/").unwrap();
            signer.check(token, Timestamp::from_millis(10_000)).unwrap().nonce
        };
        for (a, b) in first.iter().zip(&later) {
            assert_eq!(nonce(a), nonce(b));
        }
        assert_ne!(nonce(&first[0]), nonce(&first[1]));
    }

    proptest! {
        #[test]
        fn one_changed_character_makes_a_link_invalid(at in 0_usize..200, to in "[A-Za-z0-9_.-]") {
            let signer = signer(&[OLD]);
            let token = signer.token(&claim());
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != token);
            prop_assert_eq!(signer.check(&changed, Timestamp::from_millis(0)), Err(LinkRefused::Forged));
        }

        #[test]
        fn no_text_is_taken_for_a_token(text in any::<String>()) {
            prop_assert!(signer(&[OLD]).check(&text, Timestamp::from_millis(0)).is_err());
        }
    }
}
