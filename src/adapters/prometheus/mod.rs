//! Samples from a server with Prometheus' HTTP API: Prometheus, Thanos, Mimir,
//! VictoriaMetrics. What the server could not say is our blindness and never
//! the silence of an instance.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::{PrometheusSource, Surroundings, Tenant};
use crate::domain::{InstanceId, MetricFamily, MetricKind, Selector, Timestamp};

use super::outgoing::ClientError;
use super::scrape::{Connection, no_answer, read_body};

mod answer;
mod poll;

pub use answer::{Answer, Series};
pub use poll::{Poll, Poller};

/// Points that servers give for one series at most.
const POINTS_MAX: u32 = 11_000;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 512 << 20;

/// Longest stretch that is asked for at once.
const STRETCH_MAX: Duration = Duration::from_secs(3600);

/// A stretch is halved while its answer is too large, down to this.
const STRETCH_MIN: Duration = Duration::from_secs(60);

/// Waits before a call is tried again.
const WAITS: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(1000), Duration::from_millis(4000)];

/// Longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Why a server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// It could not be asked, or failed, after the last try.
    #[error("{url} did not answer: {why}; check the address, and whether the server is well")]
    Down {
        /// Which call.
        url: Url,
        /// Why.
        why: String,
    },
    /// It does not take the question.
    #[error("{url} refused {question:?} with HTTP status {status}: {why}")]
    Refused {
        /// Which call.
        url: Url,
        /// The expression or path.
        question: String,
        /// The HTTP status.
        status: u16,
        /// What it says.
        why: String,
    },
    /// It answered something else.
    #[error("{url} answered what is no answer of Prometheus' HTTP API: {why}; check the address")]
    NotApi {
        /// Which call.
        url: Url,
        /// What is wrong with it.
        why: String,
    },
}

/// Which series are wanted, and whose they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The series.
    pub selector: Selector,
    /// The instance that each belongs to.
    pub instance: InstanceRule,
}

/// How the instance of a series is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceRule {
    /// The value of this label; series without it are passed over.
    Label(String),
    /// The same, and this one for series without the label, as where versions
    /// are told apart and not machines.
    LabelOr(String, InstanceId),
    /// All belong to one, as where a group is told by its version.
    Fixed(InstanceId),
}

/// A client of one server.
pub struct Client {
    connection: Connection,
    base: Url,
    tenant: Option<Tenant>,
    timeout: Duration,
    step: Duration,
    series_limit: usize,
    instance_label: String,
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "type", default)]
    kind: MetricKind,
    #[serde(default)]
    help: String,
    #[serde(default)]
    unit: String,
}

impl Client {
    /// A client of the source's server.
    ///
    /// # Errors
    /// If a certificate or secret of the settings cannot be had.
    pub fn new(source: &PrometheusSource, surroundings: &dyn Surroundings) -> Result<Self, ClientError> {
        Ok(Self {
            connection: Connection::new(&source.client, surroundings)?,
            base: source.url.clone(),
            tenant: source.tenant.clone(),
            timeout: source.timeout,
            step: source.step,
            series_limit: source.series_limit as usize,
            instance_label: source.instance_label.clone(),
        })
    }

    /// The rule that the settings name for instances.
    pub fn instance_rule(&self) -> InstanceRule {
        InstanceRule::Label(self.instance_label.clone())
    }

    /// Whether the server answers at all.
    ///
    /// # Errors
    /// If it does not.
    pub async fn check_alive(&self) -> Result<(), ApiError> {
        let answer = self.query("vector(1)", None).await?;
        match answer.series.first().and_then(|series| series.points.first()) {
            Some((_, value)) if *value == 1.0 => Ok(()),
            _ => Err(ApiError::NotApi { url: self.base.clone(), why: "vector(1) is not 1".to_owned() }),
        }
    }

    /// What the server knows of metrics besides their samples.
    ///
    /// # Errors
    /// If it does not answer or does not know the call.
    pub async fn metadata(&self) -> Result<Vec<MetricFamily>, ApiError> {
        type ByName = std::collections::BTreeMap<String, Vec<Metadata>>;
        let (found, _) = self.call::<ByName>("metadata", &[], "metadata", reqwest::Method::GET).await?;
        let families = found.into_iter().filter_map(|(name, known)| {
            let known = known.into_iter().next()?;
            let text = |text: String| Some(text).filter(|text| !text.is_empty());
            Some(MetricFamily { name, kind: known.kind, unit: text(known.unit), help: text(known.help) })
        });
        Ok(families.collect())
    }

    /// An instant query.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn query(&self, expression: &str, at: Option<Timestamp>) -> Result<Answer, ApiError> {
        let mut form = vec![("query", expression.to_owned())];
        if let Some(at) = at {
            form.push(("time", seconds(at)));
        }
        let (data, warnings) = self.call("query", &form, expression, reqwest::Method::POST).await?;
        Ok(answer::read(data, warnings, self.series_limit))
    }

    /// A range query; split where a server would refuse so many points.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn query_range(
        &self,
        expression: &str,
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Result<Answer, ApiError> {
        let mut whole = Answer::default();
        let mut start = from;
        while start <= to {
            let end = (start + step * (POINTS_MAX - 1)).min(to);
            let form = [
                ("query", expression.to_owned()),
                ("start", seconds(start)),
                ("end", seconds(end)),
                ("step", step.as_secs_f64().to_string()),
            ];
            let (data, warnings) = self.call("query_range", &form, expression, reqwest::Method::POST).await?;
            whole.append(answer::read(data, warnings, self.series_limit));
            start = end + step;
        }
        Ok(whole)
    }

    /// The samples of `selector` after `from` up to `to`, as they were scraped
    /// and with the times of their scrapes where the server gives them, else
    /// at the source's step.
    ///
    /// # Errors
    /// As [`ApiError`] says.
    pub async fn samples(
        &self,
        selector: &Selector,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Answer, ApiError> {
        let mut whole = Answer::default();
        let (mut start, mut stretch) = (from, STRETCH_MAX);
        while start < to {
            let end = (start + stretch).min(to);
            let range = format!("{selector}[{}ms]", end.since(start).as_millis());
            match self.query(&range, Some(end)).await {
                Ok(mut answer) => {
                    // Some servers count the beginning in, some do not.
                    answer.retain_after(start);
                    whole.append(answer);
                    start = end;
                }
                Err(error) if error.is_too_much() && stretch > STRETCH_MIN => stretch /= 2,
                Err(ApiError::Refused { status: 400 | 422, .. }) if whole.series.is_empty() => {
                    let mut answer =
                        self.query_range(&selector.to_string(), from + self.step, to, self.step).await?;
                    answer.warnings.push(format!(
                        "the server gives no raw samples; they are read every {} s",
                        self.step.as_secs_f64()
                    ));
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    /// One call, tried again where that may help.
    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, String)],
        question: &str,
        method: reqwest::Method,
    ) -> Result<(T, Vec<String>), ApiError> {
        let mut url = self.base.clone();
        let joined = format!("{}/api/v1/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        for wait in WAITS {
            match self.call_once(&url, form, question, method.clone()).await {
                Ok(answer) => return Ok(answer),
                Err((error, None)) => return Err(error),
                Err((_, Some(asked))) => tokio::time::sleep(asked.max(wait)).await,
            }
        }
        self.call_once(&url, form, question, method).await.map_err(|(error, _)| error)
    }

    /// An error comes with how long the server wants to be left alone, if
    /// another try may help.
    async fn call_once<T: DeserializeOwned>(
        &self,
        url: &Url,
        form: &[(&str, String)],
        question: &str,
        method: reqwest::Method,
    ) -> Result<(T, Vec<String>), (ApiError, Option<Duration>)> {
        let down = |why: String| ApiError::Down { url: url.clone(), why };
        let mut request = self.connection.request(method, url.clone()).timeout(self.timeout);
        if !form.is_empty() {
            request = request.form(form);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header(&tenant.header, &tenant.value);
        }
        let again = Some(Duration::ZERO);
        let mut response =
            request.send().await.map_err(|error| (down(no_answer(error).to_string()), again))?;
        let status = response.status().as_u16();
        let asked = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map_or(Duration::ZERO, Duration::from_secs);
        let body = read_body(&mut response, ANSWER_BYTES_MAX)
            .await
            .map_err(|failure| (down(failure.to_string()), again))?;
        let said = || match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) if !failure.error.is_empty() => failure.error.chars().take(300).collect(),
            _ => String::from_utf8_lossy(&body[..body.len().min(120)]).trim().to_owned(),
        };
        match status {
            200 => {}
            429 | 500 | 502..=504 => {
                let why = format!("HTTP status {status}: {}", said());
                return Err((down(why), Some(asked.min(RETRY_AFTER_MAX))));
            }
            _ => {
                let question = question.to_owned();
                return Err((ApiError::Refused { url: url.clone(), question, status, why: said() }, None));
            }
        }
        let not_api = |why: String| (ApiError::NotApi { url: url.clone(), why }, None);
        let envelope: Envelope<T> =
            serde_json::from_slice(&body).map_err(|error| not_api(error.to_string()))?;
        match (envelope.status.as_str(), envelope.data) {
            ("success", Some(data)) => Ok((data, envelope.warnings)),
            _ => Err(not_api(format!("its status is {:?}: {}", envelope.status, envelope.error))),
        }
    }
}

impl ApiError {
    /// Whether less might be answered.
    fn is_too_much(&self) -> bool {
        match self {
            Self::Refused { status, why, .. } => *status == 413 || why.contains("too many samples"),
            Self::Down { why, .. } => why.contains("more than") || why.contains("too many samples"),
            Self::NotApi { .. } => false,
        }
    }
}

/// A moment as the API takes it.
fn seconds(at: Timestamp) -> String {
    format!("{:.3}", at.as_secs_f64())
}
