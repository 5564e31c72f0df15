//! The daemon among the system's services: what it tells systemd, people's
//! channels that change, a disk that is full.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::guardian::{self, Guardian, World, until};
use crate::{now, servers};

/// What systemd would hear.
fn listen(world: &World) -> (std::path::PathBuf, Arc<Mutex<Vec<String>>>) {
    let path = world.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            kept.lock().unwrap().extend(text.lines().map(str::to_owned));
        }
    });
    (path, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_when_it_is_ready_alive_reloading_and_stopping() {
    let world = World::new();
    let (path, heard) = listen(&world);
    let mut command = guardian::command(&world.settings());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000000").env_remove("WATCHDOG_PID");
    let mut guardian = Guardian::start_as(&world, &mut command).await;
    let count = |line: &str| heard.lock().unwrap().iter().filter(|heard| heard.starts_with(line)).count();
    until("it is ready and alive", async || {
        (count("READY=1") == 1 && count("WATCHDOG=1") >= 3).then_some(())
    })
    .await;
    assert!(count("STATUS=0 releases are watched") > 0, "{:?}", heard.lock().unwrap());
    assert_eq!((count("RELOADING=1"), count("STOPPING=1")), (0, 0));
    guardian.signal("HUP");
    until("it has reloaded", async || (count("READY=1") == 2).then_some(())).await;
    assert_eq!((count("RELOADING=1"), count("MONOTONIC_USEC=")), (1, 1), "{:?}", heard.lock().unwrap());
    guardian.signal("TERM");
    assert!(guardian.ended().await.success(), "{}", guardian.log());
    until("it has said that it stops", async || (count("STOPPING=1") == 1).then_some(())).await;
    assert!(!guardian.log().contains('\u{1b}'), "a log that is no terminal has no colour codes");
}

/// Someone who is told, and what they heard.
fn listener() -> (String, Arc<Mutex<Vec<Value>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    let address = servers::serve(move |seen| {
        kept.lock().unwrap().push(serde_json::from_str(&seen.body).unwrap_or(Value::Null));
        Some((200, "{}".to_owned()))
    });
    (format!("http://{address}/hook"), heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_channel_is_taken_on_reload_and_a_bad_one_leaves_the_old() {
    let world = World::new();
    let secret = world.folder.path().join("hook-url");
    let hook = |file: &str| {
        let file = world.folder.path().join(file).display().to_string();
        format!("[[notify.channel]]\nname = \"hook\"\nkind = \"webhook\"\nurl = {{ file = {file:?} }}\n")
    };
    let ((first_url, first), (second_url, second)) = (listener(), listener());
    std::fs::write(&secret, first_url).unwrap();
    world.write_settings(&hook("hook-url"));
    let guardian = Guardian::start(&world).await;
    guardian.has_history(6.0).await;
    let told = |heard: &Mutex<Vec<Value>>, part: &str| {
        heard.lock().unwrap().iter().any(|message| message.to_string().contains(part))
    };

    // The secret is not there: the file is refused as a whole.
    let current = "release_guardian_settings_current";
    world.write_settings(&hook("nowhere"));
    guardian.signal("HUP");
    until("the file is refused", async || guardian.metric(current).await.filter(|v| *v == 0.0)).await;
    assert!(guardian.log().contains("nowhere"), "{}", guardian.log());
    guardian.post("/api/v1/releases", None, &world.order("r-1", &now())).await;
    until("the old channel is told", async || told(&first, "began").then_some(())).await;

    std::fs::write(&secret, second_url).unwrap();
    world.write_settings(&hook("hook-url"));
    guardian.signal("HUP");
    until("the file is taken", async || guardian.metric(current).await.filter(|v| *v == 1.0)).await;
    guardian.post("/api/v1/releases/shop/r-1/cancel", None, &json!({})).await;
    until("the new channel is told", async || told(&second, "cancelled").then_some(())).await;
    assert!(!told(&first, "cancelled"), "and the old one no more");
}

/// Takes the room away that the store has, and gives it back: a small file
/// system of its own where one may be mounted, else a limit on files.
struct Room {
    state: std::path::PathBuf,
    mounted: bool,
}

impl Room {
    fn new(world: &World) -> Self {
        let state = world.folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "store"])
            .arg(&state)
            .stderr(std::process::Stdio::null())
            .status();
        let room = Self { mounted: mount.is_ok_and(|status| status.success()), state };
        println!("a file system of its own: {}", room.mounted);
        room
    }

    /// Leaves about 100 kB.
    fn take(&self, guardian: &Guardian) {
        if self.mounted {
            let mut file = std::fs::File::create(self.ballast()).unwrap();
            while std::io::Write::write_all(&mut file, &[1; 4_096]).is_ok() {}
            let length = file.metadata().unwrap().len();
            file.set_len(length - 100_000).unwrap();
        } else {
            let files = std::fs::read_dir(&self.state).unwrap();
            let largest = files.map(|entry| entry.unwrap().metadata().unwrap().len()).max().unwrap();
            limit_files(guardian, &(largest + 100_000).to_string());
        }
    }

    fn give(&self, guardian: &Guardian) {
        if self.mounted {
            std::fs::remove_file(self.ballast()).unwrap();
        } else {
            limit_files(guardian, "unlimited");
        }
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.state.join("ballast")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.mounted {
            // Whoever still has files open there keeps them.
            let _ = Command::new("umount").arg("-l").arg(&self.state).status();
        }
    }
}

/// How large files of the guardian may become, as `prlimit` writes it.
fn limit_files(guardian: &Guardian, soft: &str) {
    let done = Command::new("prlimit")
        .args(["--pid", &guardian.pid().to_string(), &format!("--fsize={soft}:unlimited")])
        .status()
        .expect("prlimit comes with Debian's package util-linux");
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_says_so_accepts_nothing_and_loses_nothing() {
    let world = World::new();
    let room = Room::new(&world);
    let plain = guardian::command(&world.settings());
    // A write beyond the limit fails as on a full disk, instead of ending the process.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM").stdin(std::process::Stdio::null());
    let guardian = Guardian::start_as(&world, &mut command).await;
    guardian.has_history(6.0).await;
    let (status, begun) = guardian.post("/api/v1/releases", None, &world.order("r-1", &now())).await;
    assert_eq!(status, 201, "{begun}");

    room.take(&guardian);
    let mut accepted = 0;
    let refused = loop {
        let word =
            json!({"kind": "false_alarm", "comment": format!("word {accepted} {}", "x".repeat(3_000))});
        let (status, answer) = guardian.post("/api/v1/releases/shop/r-1/feedback", None, &word).await;
        match status {
            200..300 => accepted += 1,
            503 => break answer,
            // So many calls of one caller in a second.
            429 => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            other => panic!("{other}: {answer}"),
        }
        assert!(accepted < 5_000, "the limit is never reached");
    };
    assert!(accepted > 0);
    // Whoever insists changes nothing about what comes once there is room.
    for _ in 0..3 {
        let word = json!({"kind": "false_alarm", "comment": format!("once more {}", "x".repeat(3_000))});
        guardian.post("/api/v1/releases/shop/r-1/feedback", None, &word).await;
    }
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("store")), "{refused}");
    until("it is not ready, and says why", async || {
        let answer = guardian.client.get(format!("{}/readyz", guardian.base)).send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        (status == 503 && text.contains("store")).then_some(())
    })
    .await;
    let said = if room.mounted { "free disk space at its folder" } else { "the limits of file size" };
    assert!(guardian.log().contains(said), "{}", guardian.log());

    // There is room again: it goes on by itself.
    room.give(&guardian);
    until("it is ready again", async || {
        let answer = guardian.client.get(format!("{}/readyz", guardian.base)).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let word = json!({"kind": "false_alarm", "comment": "the last word"});
    let (status, answer) = guardian.post("/api/v1/releases/shop/r-1/feedback", None, &word).await;
    assert!((200..300).contains(&status), "{status}: {answer}");
    guardian.kill();
    let guardian = Guardian::start(&world).await;
    let release = guardian.release("r-1").await.unwrap();
    let words = release["feedback"].as_array().unwrap();
    for number in 0..accepted {
        let beginning = format!("word {number} ");
        let kept = words.iter().filter(|w| w["comment"].as_str().is_some_and(|c| c.starts_with(&beginning)));
        assert_eq!(kept.count(), 1, "word {number} of {accepted} was accepted");
    }
    assert_eq!(words.last().unwrap()["comment"], "the last word");
}
