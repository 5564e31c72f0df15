//! What a person sees of the demo: two live lines in a terminal, otherwise a
//! line for each change.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::release_system::Rollout;

/// The terminal, or whatever standard output is.
pub(super) struct View {
    pub(super) begun: Instant,
    lines: MultiProgress,
    live: bool,
}

impl View {
    pub(super) fn start() -> Self {
        let lines = MultiProgress::new();
        let live = !lines.is_hidden();
        Self { begun: Instant::now(), lines, live }
    }

    fn line(&self) -> ProgressBar {
        let bar = self.lines.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4}  {msg}") {
            bar.set_style(style);
        }
        if self.live {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    /// A line that stays.
    fn say(&self, text: &str) {
        let text = format!("{:>5.1} s  {text}", self.begun.elapsed().as_secs_f64());
        if self.live {
            // A terminal that went away takes its last line with it.
            let _ = self.lines.println(text);
        } else {
            println!("{text}");
        }
    }

    pub(super) fn end(&self) {
        let _ = self.lines.clear();
    }
}

/// One release as it is shown.
pub(super) struct Shown {
    application: &'static str,
    system: String,
    gate: String,
    detail: String,
    line: ProgressBar,
    /// As its release system says.
    pub(super) state: String,
    /// As the guardian's gate says.
    pub(super) verdict: String,
    because: String,
}

impl Shown {
    pub(super) fn new(
        view: &View,
        application: &'static str,
        release: &str,
        system: &str,
        guardian: &str,
    ) -> Self {
        Self {
            application,
            system: format!("{system}/releases/{release}"),
            gate: format!("{guardian}/api/v1/gate/{application}/{release}"),
            detail: format!("{guardian}/api/v1/releases/{application}/{release}"),
            line: view.line(),
            state: String::new(),
            verdict: String::new(),
            because: String::new(),
        }
    }

    /// Asks both sides where the release stands, and shows what changed.
    pub(super) async fn ask(&mut self, client: &reqwest::Client, view: &View) -> Result<(), reqwest::Error> {
        let state = word(&answer(client, &self.system).await?, "/state");
        let verdict = word(&answer(client, &self.gate).await?, "/verdict");
        let changed = (&state, &verdict) != (&self.state, &self.verdict);
        (self.state, self.verdict) = (state, verdict);
        let guardian = if self.verdict.is_empty() { "not told yet" } else { &self.verdict };
        let now = format!("{:<7} release system: {}, guardian: {guardian}", self.application, self.state);
        if changed {
            view.say(&now);
        }
        let detail = answer(client, &self.detail).await?;
        let stopped = detail["decisions"].as_array().into_iter().flatten().rev();
        let mut stopped = stopped.filter(|d| matches!(d["action"].as_str(), Some("pause" | "rollback")));
        if let Some(because) = stopped.next().and_then(|d| d["reasons"][0]["because"].as_str())
            && self.because.is_empty()
        {
            because.clone_into(&mut self.because);
            view.say(&format!("{:<7} because: {because}", self.application));
        }
        self.line.set_message(now);
        Ok(())
    }

    /// Whether the rollout ended in another way, so that waiting is no use. A
    /// release that is done may still be stopped while the guardian watches.
    pub(super) fn is_over_but(&self, wanted: Rollout) -> bool {
        let ended = [Rollout::RolledBack, Rollout::Waiting].iter().any(|state| state.word() == self.state);
        ended && self.state != wanted.word()
    }

    /// What the guardian saw last: for a run that did not end as it should.
    pub(super) async fn seen(&self, client: &reqwest::Client) -> Result<String, reqwest::Error> {
        Ok(seen(self.application, &answer(client, &self.detail).await?))
    }

    /// The folder of its recording, once it was written.
    pub(super) async fn recording(&self, client: &reqwest::Client) -> Result<Option<String>, reqwest::Error> {
        Ok(answer(client, &self.detail).await?["recording"].as_str().map(str::to_owned))
    }
}

/// The newest verdict of a release, a line for each finding, blind spot and
/// decision.
fn seen(application: &str, detail: &Value) -> String {
    let list = |pointer: &str| detail.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![match detail.get("verdict").filter(|verdict| !verdict.is_null()) {
        Some(verdict) => format!(
            "{application}: the newest verdict is {} with probability {}, {} signals judged",
            text(&verdict["outcome"]),
            text(&verdict["probability"]),
            text(&verdict["judged"])
        ),
        None => format!("{application}: nothing was judged"),
    }];
    lines.extend(
        list("/verdict/findings")
            .map(|finding| format!("  {}: {}", text(&finding["outcome"]), text(&finding["because"]))),
    );
    lines.extend(list("/verdict/blind").map(|blind| format!("  blind: {}", text(blind))));
    lines.extend(list("/decisions").map(|decision| {
        let (at, action) = (text(&decision["at"]), text(&decision["action"]));
        format!("  decided at {at}: {action}, {}", text(&decision["because"]))
    }));
    lines.join("\n")
}

async fn answer(client: &reqwest::Client, url: &str) -> Result<Value, reqwest::Error> {
    client.get(url).send().await?.json().await
}

fn word(answer: &Value, pointer: &str) -> String {
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_told_with_findings_blind_spots_and_decisions() {
        let detail = serde_json::json!({
            "verdict": {
                "outcome": "suspect", "probability": 0.4, "judged": 31,
                "findings": [{"outcome": "suspect", "because": "rate of orders 0, reference 5"}],
                "blind": ["shop-3: no answer"],
            },
            "decisions": [{"at": "2026-03-01T08:30:00.000Z", "action": "advise", "because": "suspicious"}],
        });
        assert_eq!(
            seen("shop", &detail),
            "shop: the newest verdict is suspect with probability 0.4, 31 signals judged\n  \
             suspect: rate of orders 0, reference 5\n  blind: shop-3: no answer\n  \
             decided at 2026-03-01T08:30:00.000Z: advise, suspicious"
        );
        assert_eq!(seen("shop", &Value::Null), "shop: nothing was judged");
    }
}
