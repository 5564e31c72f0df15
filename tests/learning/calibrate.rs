//! `calibrate` with the real binary, on what a daemon's store has.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use release_guardian::adapters::store::{SqlStore, Store};
use release_guardian::domain::{ApplicationName, InstanceId, Sample, Scrape, ScrapeOutcome, Timestamp};

/// An hour of four machines that serve evenly; one has a gauge that jumps at
/// its end.
fn scrapes() -> Vec<Scrape> {
    let start: Timestamp = "2026-03-01T08:00:00Z".parse().unwrap();
    let mut scrapes = Vec::new();
    for step in 0..180_u32 {
        for machine in 0..4_u32 {
            let wobble = f64::from((step * 7 + machine * 5) % 11);
            let sample = |series: &str, value| Sample { series: Arc::new(series.parse().unwrap()), value };
            let depth = if step > 120 + 10 * machine { 60.0 } else { 5.0 };
            scrapes.push(Scrape {
                instance: InstanceId::new(format!("m{machine}:1")).unwrap(),
                at: start + Duration::from_secs(20) * step,
                outcome: ScrapeOutcome::Complete,
                samples: vec![
                    sample("http_requests_total{code=\"200\"}", f64::from(step) * 400.0 + wobble),
                    sample("queue_depth", depth + wobble / 11.0),
                ],
                families: Arc::from([]),
            });
        }
    }
    scrapes
}

#[tokio::test]
async fn an_application_without_any_release_has_a_rate_of_false_stops_from_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("guardian.db");
    let store = SqlStore::open(&database).await.unwrap();
    store.append_samples(&ApplicationName::new("shop").unwrap(), &scrapes()).await.unwrap();
    store.close().await;
    let settings = folder.path().join("guardian.toml");
    let calibrate = |signal: &str| {
        let text = format!(
            "[store]\npath = {database:?}\n[recordings]\ndir = {none:?}\n[[source]]\nname = \"fleet\"\n\
             kind = \"scrape\"\ninterval = \"20s\"\ntimeout = \"5s\"\nstatic = [{{ targets = [\"m0:1\"] }}]\n\
             [[application]]\nname = \"shop\"\n{signal}",
            none = folder.path().join("none"),
        );
        std::fs::write(&settings, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_release-guardian"))
            .args(["calibrate", "--count", "40", "--config"])
            .arg(&settings)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = calibrate("");
    assert!(table.starts_with("shop: false stops per good release 0."), "{table}");
    assert!(table.contains(" of 40, 95 % interval ") && table.contains("queue"), "{table}");
    let muted = calibrate("[[application.signal]]\nmetric = \"queue_depth\"\nmute = true\n");
    assert!(muted.starts_with("shop: false stops per good release 0.000 (0 of 40"), "{muted}");
}
