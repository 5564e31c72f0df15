//! The verdict for systems that measure, as the `web` metric of Argo Rollouts:
//! always HTTP status 200 with JSON for a caller that is known, because such a
//! system takes any other status as an error of the release's analysis. What
//! cannot be said is `inconclusive`, which holds a rollout and fails none.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use serde::{Deserialize, Serialize};

use crate::adapters::guardian::{Gate, GateWord, GuardianError};
use crate::domain::{ApplicationName, ReleaseId, ReleaseKey};

use super::Web;
use super::access::Need;
use super::call::Call;
use super::problem::Problem;

/// Measuring systems wait ten seconds; the answer comes long before.
const DEADLINE: Duration = Duration::from_secs(3);

pub(super) fn routes() -> Router<Web> {
    Router::new().route("/api/v1/verdict", get(verdict))
}

#[derive(Deserialize)]
struct Asked {
    application: String,
    release: String,
}

/// What a measuring system is told.
#[derive(Debug, PartialEq, Serialize)]
struct Verdict {
    verdict: GateWord,
    /// 100 is surely good, 0 surely faulty; 50 where nothing is known.
    score: u8,
    reason: String,
    /// The release's page, below the guardian's own address.
    url: String,
}

impl Verdict {
    fn unknown(reason: String, url: String) -> Self {
        Self { verdict: GateWord::Inconclusive, score: 50, reason, url }
    }

    fn of(gate: Gate, url: String) -> Self {
        let score = match (gate.verdict, gate.probability) {
            (GateWord::Inconclusive, _) | (_, None) => 50,
            (
                GateWord::Pass | GateWord::Pending | GateWord::Pause | GateWord::Rollback,
                Some(probability),
            ) => (100.0 * (1.0 - probability.clamp(0.0, 1.0))).round() as u8,
        };
        Self { verdict: gate.verdict, score, reason: gate.reason, url }
    }
}

async fn verdict(
    State(web): State<Web>,
    call: Call,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    call.admit(&web, Need::Gate, None).await?;
    let answer = match asked {
        Ok(Query(asked)) => answer(&web, asked).await,
        Err(error) => Verdict::unknown(
            format!(
                "the question is not understood: {}; ask with ?application=..&release=..",
                super::problem::plain(&error.body_text())
            ),
            String::new(),
        ),
    };
    Ok(Json(answer).into_response())
}

async fn answer(web: &Web, asked: Asked) -> Verdict {
    let key = match (ApplicationName::new(&asked.application), ReleaseId::new(&asked.release)) {
        (Ok(application), Ok(id)) => ReleaseKey { application, id },
        (Err(error), _) | (_, Err(error)) => return Verdict::unknown(error.to_string(), String::new()),
    };
    let url = super::pages::release_path(&key);
    match tokio::time::timeout(DEADLINE, web.guardian.gate(key)).await {
        Ok(Ok(gate)) => Verdict::of(gate, url),
        Ok(Err(error @ GuardianError::NotFound { .. })) => {
            Verdict::unknown(format!("{error}; begin the release first"), url)
        }
        Ok(Err(error)) => Verdict::unknown(error.to_string(), url),
        Err(_) => Verdict::unknown("the guardian's store did not answer in time".to_owned(), url),
    }
}
