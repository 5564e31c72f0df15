//! `release-guardian notify --test`, as a person runs it.

use std::process::{Command, Output};

use super::support::{PASSWORD, Server, Smtp, USER, ok};

fn run(file: &std::path::Path, variables: &[(&str, &str)], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["notify", "--test", "--config"])
        .arg(file)
        .args(more)
        .envs(variables.iter().copied())
        .env("STATE_DIRECTORY", "/nowhere")
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_gets_a_test_message_and_its_answer_is_told() {
    let smtp = Smtp::start("starttls", "localhost", USER);
    let good = Server::start(|_, _| ok("ok")).await;
    let bad = Server::start(|_, _| ok(r#"{"errcode":310000,"errmsg":"keywords not in content"}"#)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guardian.toml");
    let text = format!(
        "{}\n[[notify.channel]]\nname = \"team\"\nkind = \"slack\"\nurl = \"${{TEAM}}\"\n\
         [[notify.channel]]\nname = \"group\"\nkind = \"dingtalk\"\nurl = \"${{GROUP}}\"\n",
        smtp.settings("starttls", &["li@example.com"])
    );
    std::fs::write(&file, text).unwrap();
    let group = format!("{}/robot/send?access_token=secretsecret", bad.url);
    let variables = [("PASSWORD", PASSWORD), ("TEAM", good.url.as_str()), ("GROUP", group.as_str())];
    let done = run(&file, &variables, &[]);
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(!done.status.success());
    assert!(said.contains("mail to li@example.com: sent, it answered: 250 2.0.0 queued"), "{said}");
    assert!(said.contains("team: sent, it answered: ok"), "{said}");
    assert!(said.contains("group: FAILED") && said.contains("310000"), "{said}");
    assert!(!said.contains("secretsecret"));
    assert_eq!(smtp.mails()[0]["headers"]["Subject"], "Test message");

    let one = run(&file, &variables, &["--channel", "team"]);
    assert!(one.status.success());
    let unknown = run(&file, &variables, &["--channel", "taem"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("known are mail, team, group"));
}

#[test]
fn a_broken_template_is_refused_by_check_with_its_channel_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let (file, template) = (folder.path().join("guardian.toml"), folder.path().join("mine.txt"));
    std::fs::write(&template, "fine\n{{ headlin }}\n").unwrap();
    let text = format!(
        "[notify]\n[[notify.channel]]\nname = \"team\"\nkind = \"slack\"\nurl = \"${{TEAM}}\"\ntemplates = {{ markdown = {template:?} }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_release-guardian"));
        command.arg("check").arg(&file).env("STATE_DIRECTORY", "/nowhere").output().unwrap()
    };
    let refused = check();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(said.contains("markdown of channel \"team\"") && said.contains("line 2"), "{said}");
    std::fs::write(&template, "*{{ headline }}*\n").unwrap();
    assert!(check().status.success());
    std::fs::write(&template, "{% if %}").unwrap();
    let said = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(said.contains("guardian.toml:6:") && said.contains("broken in line 1"), "{said}");
}
