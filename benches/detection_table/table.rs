//! Counts to Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use release_guardian::app::figures::Share;

/// Faults of fewer times the noise are counted apart where labels say.
const TIMES_NOISE_MIN: f64 = 10.0;

/// One release with every judge's stop.
pub struct Row {
    /// What it was.
    pub faulty: bool,
    /// What was wrong.
    pub cause: Option<String>,
    /// The harmless troubles in it.
    pub troubles: Vec<String>,
    /// How large the fault is, in units of the noise, if the label says.
    pub times_noise: Option<f64>,
    /// From the start to the fault's onset.
    pub onset_seconds: Option<f64>,
    /// By judge, seconds from the start to the stop.
    pub stopped: Vec<Option<f64>>,
}

/// A set of releases.
pub struct Set {
    /// Its heading.
    pub name: String,
    /// The judges' names, in the order of [`Row::stopped`].
    pub judges: Vec<&'static str>,
    /// The releases.
    pub rows: Vec<Row>,
}

fn share(count: usize, of: usize) -> String {
    if of == 0 {
        return "none".to_owned();
    }
    let share = Share { count, of };
    let (low, high) = share.interval();
    format!("{count} of {of} = {:.2} ({low:.2} to {high:.2})", share.value())
}

impl Set {
    fn stopped<'a>(&self, rows: impl Iterator<Item = &'a Row>, judge: usize) -> String {
        let stops: Vec<bool> = rows.map(|row| row.stopped[judge].is_some()).collect();
        share(stops.iter().filter(|stopped| **stopped).count(), stops.len())
    }

    fn median_delay(&self, judge: usize) -> String {
        let mut delays: Vec<f64> = self
            .rows
            .iter()
            .filter(|row| row.faulty)
            .filter_map(|row| Some(row.stopped[judge]? - row.onset_seconds?))
            .collect();
        delays.sort_by(f64::total_cmp);
        let middle = delays.len().saturating_sub(1) / 2;
        delays.get(middle).map_or("unknown".to_owned(), |delay| format!("{delay:.0} s"))
    }

    /// The set's tables.
    pub fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n", self.name);
        text.push_str("| judge | recall | false stops per good release | median delay from onset |\n");
        text.push_str("| --- | --- | --- | --- |\n");
        for (judge, name) in self.judges.iter().enumerate() {
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} |",
                self.stopped(self.rows.iter().filter(|r| r.faulty), judge),
                self.stopped(self.rows.iter().filter(|r| !r.faulty), judge),
                self.median_delay(judge)
            );
        }
        if self.rows.iter().any(|row| row.times_noise.is_some_and(|t| t < TIMES_NOISE_MIN) && row.faulty) {
            self.by_size(&mut text);
        }
        let faults = self.grouped(|row| row.cause.iter().filter(|_| row.faulty).cloned().collect());
        self.table(&mut text, "fault: caught", &faults);
        let troubles = self.grouped(|row| if row.faulty { Vec::new() } else { row.troubles.clone() });
        self.table(&mut text, "good release with: stopped", &troubles);
        text
    }

    fn by_size(&self, text: &mut String) {
        let _ = writeln!(text, "\nFaults of {TIMES_NOISE_MIN:.0} times the noise and more:\n");
        for (judge, name) in self.judges.iter().enumerate() {
            let large = self
                .rows
                .iter()
                .filter(|r| r.faulty && r.times_noise.is_some_and(|times| times >= TIMES_NOISE_MIN));
            let _ = writeln!(text, "- {name}: {}", self.stopped(large, judge));
        }
    }

    fn grouped(&self, words: impl Fn(&Row) -> Vec<String>) -> BTreeMap<String, Vec<&Row>> {
        let mut groups: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            words(row).into_iter().for_each(|word| groups.entry(word).or_default().push(row));
        }
        groups
    }

    fn table(&self, text: &mut String, heading: &str, groups: &BTreeMap<String, Vec<&Row>>) {
        if groups.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n| {heading} | {} |", self.judges.join(" | "));
        let _ = writeln!(text, "| --- |{}", " --- |".repeat(self.judges.len()));
        for (word, rows) in groups {
            let _ = write!(text, "| {word} |");
            for judge in 0..self.judges.len() {
                let _ = write!(text, " {} |", self.stopped(rows.iter().copied(), judge));
            }
            text.push('\n');
        }
    }
}
