//! Who calls, and what they may do.

use std::collections::HashMap;

use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::adapters::clock;
use crate::adapters::guardian::Caller;
use crate::config::Role;
use crate::domain::{ReleaseKey, Timestamp};

use super::Web;
use super::problem::Problem;

/// The cookie of a person who logged in.
pub(super) const COOKIE: &str = "release_guardian_token";
/// Calls a second that a caller may make for long.
const CALLS_PER_SECOND: f64 = 50.0;
/// Calls that a caller may make at once.
const CALLS_AT_ONCE: f64 = 200.0;
/// Refused calls that are written into the audit a second, for long.
const REFUSALS_PER_SECOND: f64 = 1.0;
/// Refused calls that are written into the audit at once.
const REFUSALS_AT_ONCE: f64 = 60.0;
/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// A token with its secret.
#[derive(Debug)]
pub struct Credential {
    /// Whose; stands in the audit.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The token itself.
    pub secret: SecretString,
}

/// Who may do what.
#[derive(Debug)]
pub struct Access {
    credentials: Vec<Credential>,
    anonymous: Option<Role>,
    /// Names under which the interface is reached, besides addresses and
    /// `localhost`.
    hosts: Vec<String>,
    /// Signs the forms of this run.
    key: [u8; 32],
}

impl Access {
    /// `anonymous`: the role of a request without a token, or none.
    pub fn new(credentials: Vec<Credential>, anonymous: Option<Role>) -> Self {
        Self { credentials, anonymous, hosts: Vec::new(), key: rand::random() }
    }

    /// Names under which callers without a token of their own may reach the
    /// interface. Without any it is reached by addresses and as `localhost`.
    #[must_use]
    pub fn reached_as(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.hosts.extend(hosts);
        self
    }

    /// Whether the request was meant for us. A page of another site can have
    /// its own name resolved to our address, and a browser then takes it for
    /// that site's: such a request names a host that is not ours. Addresses
    /// cannot be turned so.
    pub(super) fn is_for_us(&self, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next().and_then(|host| host.to_str().ok()), named.next()) else {
            return false;
        };
        // A host and a port only, with nothing before or behind them.
        if host.contains(['@', '/', '\\', '?', '#']) {
            return false;
        }
        let Ok(url) = url::Url::parse(&format!("http://{host}/")) else { return false };
        match url.host() {
            Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => true,
            Some(url::Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name.eq_ignore_ascii_case("localhost")
                    || self.hosts.iter().any(|h| name.eq_ignore_ascii_case(h))
            }
            None => false,
        }
    }

    /// Every token is compared, each in constant time and by its hash, so that
    /// neither place nor length of a difference can be measured.
    fn find(&self, token: &str) -> Option<&Credential> {
        let given = Sha256::digest(token.as_bytes());
        let mut found = None;
        for credential in &self.credentials {
            let known = Sha256::digest(credential.secret.expose_secret().as_bytes());
            if bool::from(known.ct_eq(&given)) {
                found = Some(credential);
            }
        }
        found
    }

    /// What a form of this caller must carry.
    pub(super) fn form_key(&self, who: &str) -> String {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.key) {
            Ok(mac) => mac,
            Err(error) => unreachable!("a MAC takes a key of any length: {error}"),
        };
        mac.update(who.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    pub(super) fn is_form_key(&self, who: &str, given: &str) -> bool {
        self.form_key(who).as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// To see releases.
    Read,
    /// To ask a gate or the judge.
    Gate,
    /// To report alerts from outside.
    Report,
    /// To tell the course of a release.
    Course,
    /// To decide about releases, give feedback, halt.
    Operate,
}

impl Need {
    fn is_met_by(self, role: Role) -> bool {
        match self {
            Self::Gate => true,
            Self::Read => matches!(role, Role::Viewer | Role::Operator | Role::Admin),
            Self::Report => matches!(role, Role::Reporter | Role::Pipeline | Role::Admin),
            Self::Course => matches!(role, Role::Pipeline | Role::Admin),
            Self::Operate => matches!(role, Role::Operator | Role::Admin),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Read => "viewer, operator or admin",
            Self::Gate => "any",
            Self::Report => "reporter, pipeline or admin",
            Self::Course => "pipeline or admin",
            Self::Operate => "operator or admin",
        }
    }
}

/// A caller whose token, or lack of one, was looked at.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) role: Role,
    /// Whether they came by the cookie of a page.
    pub(super) by_cookie: bool,
    /// Whether they showed no token.
    pub(super) anonymous: bool,
}

impl Who {
    pub(super) fn may(&self, need: Need) -> bool {
        need.is_met_by(self.role)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()
}

/// The cookie's value for a token.
pub(super) fn cookie_value(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(token)
}

/// A request that another name brought here.
pub(super) fn misdirected() -> Problem {
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", "not this host").detail(
        "the Host of the request is none of the guardian's names: use its address or the host of \
         server.public_url, add the name to server.allowed_hosts, or send a token",
    )
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "who are you?").detail(detail)
}

impl Web {
    /// Who calls; `Ok(None)` if they showed no token and nobody may come
    /// without.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Option<Who>, Problem> {
        self.identify_with(headers, None)
    }

    /// As [`Self::identify`]; a token in the address counts before all others.
    fn identify_with(&self, headers: &HeaderMap, token: Option<&str>) -> Result<Option<Who>, Problem> {
        if let Some(token) = token {
            let unknown = || unauthorized("the token in the address is not known");
            let c = self.access.find(token).ok_or_else(unknown)?;
            return Ok(Some(Who { name: c.name.clone(), role: c.role, by_cookie: false, anonymous: false }));
        }
        if headers.contains_key(header::AUTHORIZATION) {
            let known = bearer(headers).and_then(|token| self.access.find(token));
            return match known {
                Some(c) => {
                    Ok(Some(Who { name: c.name.clone(), role: c.role, by_cookie: false, anonymous: false }))
                }
                None => Err(unauthorized(
                    "the token is not known; send `Authorization: Bearer TOKEN` with one of the settings",
                )),
            };
        }
        // A token of the caller's own proves that a program means us; all else
        // a browser does for whoever owns the name that it was given.
        if !self.access.is_for_us(headers) {
            return Err(misdirected());
        }
        // A cookie of a token that was taken away is as good as none.
        if let Some(c) = cookie(headers).as_deref().and_then(|token| self.access.find(token)) {
            return Ok(Some(Who { name: c.name.clone(), role: c.role, by_cookie: true, anonymous: false }));
        }
        let anonymous = |role| Who { name: "anonymous".to_owned(), role, by_cookie: false, anonymous: true };
        Ok(self.access.anonymous.map(anonymous))
    }

    /// The token of somebody who logs in.
    pub(super) fn knows(&self, token: &str) -> Option<Who> {
        let c = self.access.find(token)?;
        Some(Who { name: c.name.clone(), role: c.role, by_cookie: true, anonymous: false })
    }

    /// Who calls, if they may and do not call too often. Refused writes are
    /// audited.
    pub(super) async fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        need: Need,
        about: Option<&ReleaseKey>,
    ) -> Result<Who, Problem> {
        self.admit_with(method, headers, None, need, about).await
    }

    /// As [`Self::admit`], for senders that can send no header and carry their
    /// token in the address.
    pub(super) async fn admit_with(
        &self,
        method: &Method,
        headers: &HeaderMap,
        token: Option<&str>,
        need: Need,
        about: Option<&ReleaseKey>,
    ) -> Result<Who, Problem> {
        let found = self.identify_with(headers, token).and_then(|who| {
            who.ok_or_else(|| {
                unauthorized("send `Authorization: Bearer TOKEN`; tokens stand in [[server.token]]")
            })
        });
        let bucket = found.as_ref().map_or("\u{0}refused", |who| who.name.as_str()).to_owned();
        self.spend(&bucket)?;
        let (who, problem) = match found {
            Ok(who) if !who.may(need) => {
                let detail = format!(
                    "{} has the role {}; this needs the role {}",
                    who.name,
                    who.role.word(),
                    need.word()
                );
                let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", "not allowed").detail(detail);
                (who.name, problem)
            }
            Ok(who) if *method != Method::GET && is_foreign(headers) => {
                let detail = "another site's page sent this; writes come from programs or from our own pages";
                (who.name, Problem::new(StatusCode::FORBIDDEN, "forbidden", "not allowed").detail(detail))
            }
            Ok(who) => return Ok(who),
            Err(problem) => ("unknown".to_owned(), problem),
        };
        if *method != Method::GET {
            self.audit_refusal(&who, about, &problem).await;
        }
        Err(problem)
    }

    pub(super) fn spend(&self, name: &str) -> Result<(), Problem> {
        let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match buckets.spend(name, clock::now(), CALLS_PER_SECOND, CALLS_AT_ONCE) {
            true => Ok(()),
            false => Err(Problem::too_many(1)),
        }
    }

    /// As [`Self::audit_refusal`], for what a caller sent: nobody reads the
    /// answers that programs get.
    pub(super) async fn refused(&self, who: &Who, about: Option<&ReleaseKey>, problem: Problem) -> Problem {
        self.audit_refusal(&who.name, about, &problem).await;
        problem
    }

    pub(super) async fn audit_refusal(&self, who: &str, about: Option<&ReleaseKey>, problem: &Problem) {
        let text = format!("refused with {}: {}", problem.status().as_u16(), problem.text());
        self.audit_without_effect(who, about, text).await;
    }

    /// The line for what was delivered again and changed nothing.
    pub(super) async fn audit_repeated(&self, who: &str, about: Option<&ReleaseKey>) {
        self.audit_without_effect(who, about, "delivered again: nothing was changed".to_owned()).await;
    }

    /// One line in the audit; of a flood only the first and then one a second.
    async fn audit_without_effect(&self, who: &str, about: Option<&ReleaseKey>, text: String) {
        let written = {
            let mut buckets = self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            buckets.spend("\u{0}audit", clock::now(), REFUSALS_PER_SECOND, REFUSALS_AT_ONCE)
        };
        if written && let Err(error) = self.guardian.audit(Caller::new(who), about.cloned(), text).await {
            tracing::warn!(%error, "a call without effect could not be written into the audit");
        }
    }
}

/// Whether a browser says that another site's page made it send this.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let (Some(origin), Some(host)) = (text("origin"), text("host")) else { return false };
    origin.split_once("://").is_none_or(|(_, of)| !of.eq_ignore_ascii_case(host))
}

/// The caller as the daemon takes it, with the idempotency key.
pub(super) fn caller(who: &Who, headers: &HeaderMap) -> Result<Caller, Problem> {
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(value) => match value.to_str() {
            Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Some(key.to_owned()),
            _ => {
                return Err(Problem::invalid(
                    "Idempotency-Key",
                    "it must be 1 to 255 visible ASCII characters; a UUID serves",
                ));
            }
        },
    };
    Ok(Caller { who: who.name.clone(), idempotency_key: key })
}

/// Token buckets by caller. There are as many as tokens, and a few.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    levels: HashMap<String, (Timestamp, f64)>,
}

impl Buckets {
    fn spend(&mut self, name: &str, now: Timestamp, per_second: f64, at_once: f64) -> bool {
        let (at, level) = self.levels.get(name).copied().unwrap_or((now, at_once));
        let level = (level + now.since(at).as_secs_f64() * per_second).min(at_once);
        let enough = level >= 1.0;
        self.levels.insert(name.to_owned(), (now, if enough { level - 1.0 } else { level }));
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_a_burst_and_then_the_rate() {
        let mut buckets = Buckets::default();
        let at = |ms| Timestamp::from_millis(ms);
        assert!((0..3).all(|_| buckets.spend("a", at(0), 1.0, 3.0)));
        assert!(!buckets.spend("a", at(0), 1.0, 3.0));
        assert!(buckets.spend("b", at(0), 1.0, 3.0));
        assert!(buckets.spend("a", at(1000), 1.0, 3.0));
        assert!(!buckets.spend("a", at(1000), 1.0, 3.0));
        // A clock that is set back gives nothing and takes nothing.
        assert!(!buckets.spend("a", at(500), 1.0, 3.0));
        assert!(buckets.spend("a", at(1500), 1.0, 3.0), "and does not lock anybody out");
    }

    #[test]
    fn a_request_is_for_us_if_it_names_an_address_or_one_of_our_names() {
        let access = Access::new(Vec::new(), None).reached_as(["guardian.example".to_owned()]);
        let names = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            access.is_for_us(&headers)
        };
        for host in [
            "127.0.0.1:8750",
            "10.1.2.3",
            "[::1]:8750",
            "localhost",
            "LOCALHOST:8750",
            "guardian.example:8750",
            "Guardian.Example.",
        ] {
            assert!(names(&[host]), "{host}");
        }
        for host in [
            "evil.example",
            "guardian.example.evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8750",
            "evil.example@127.0.0.1",
            "x/y",
            "",
        ] {
            assert!(!names(&[host]), "{host}");
        }
        assert!(!names(&[]) && !names(&["localhost", "evil.example"]));
    }

    #[test]
    fn roles_meet_what_the_design_gives_them() {
        let needs = [Need::Read, Need::Gate, Need::Report, Need::Course, Need::Operate];
        let may = |role| needs.map(|n| n.is_met_by(role));
        assert_eq!(may(Role::Viewer), [true, true, false, false, false]);
        assert_eq!(may(Role::Reporter), [false, true, true, false, false]);
        assert_eq!(may(Role::Pipeline), [false, true, true, true, false]);
        assert_eq!(may(Role::Operator), [true, true, false, false, true]);
        assert_eq!(may(Role::Admin), [true, true, true, true, true]);
    }
}
