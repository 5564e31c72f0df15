//! The sentences of messages and link pages, in both languages.

use serde::Serialize;

use crate::config::notify::{Language, Severity};
use crate::guard::Action;

use super::links::LinkAction;
use super::message::{MessageKind, Next};

/// The fixed words of a message, for templates.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)] // The names are the words.
pub struct Labels {
    pub application: &'static str,
    pub release: &'static str,
    pub version: &'static str,
    pub environment: &'static str,
    pub time: &'static str,
    pub decided: &'static str,
    pub reasons: &'static str,
    pub release_group: &'static str,
    pub reference_group: &'static str,
    pub before: &'static str,
    pub now: &'static str,
    pub signal: &'static str,
    pub blind: &'static str,
    pub next: &'static str,
    pub actions: &'static str,
    pub page: &'static str,
    pub links_note: &'static str,
    pub footer: &'static str,
    pub batch: &'static str,
}

const ENGLISH: Labels = Labels {
    application: "Application",
    release: "Release",
    version: "Version",
    environment: "Environment",
    time: "Time",
    decided: "Decided",
    reasons: "Strongest reasons",
    release_group: "release group",
    reference_group: "reference group",
    before: "before",
    now: "now",
    signal: "Signal",
    blind: "Could not be judged",
    next: "What happens next",
    actions: "Decide yourself",
    page: "All evidence",
    links_note: "Each link opens a page that asks once more. Whoever has this message can use them.",
    footer: "Sent by the release guardian.",
    batch: "a batch began",
};

const CHINESE: Labels = Labels {
    application: "应用",
    release: "发布单",
    version: "版本",
    environment: "环境",
    time: "时间",
    decided: "决定",
    reasons: "主要依据",
    release_group: "发布组",
    reference_group: "对照组",
    before: "发布前",
    now: "当前",
    signal: "指标",
    blind: "未能判断",
    next: "接下来",
    actions: "人工处理",
    page: "查看全部证据",
    links_note: "点击链接后需再次确认才会执行。收到此消息的人均可使用这些链接。",
    footer: "由发布守护者发送。",
    batch: "批次开始",
};

/// The fixed words in `language`.
pub fn labels(language: Language) -> &'static Labels {
    match language {
        Language::English => &ENGLISH,
        Language::SimplifiedChinese => &CHINESE,
    }
}

/// The first line of a message. `what` names application and version,
/// `withheld` what would have been done and was only advised.
pub fn headline(language: Language, kind: MessageKind, what: &str, withheld: Option<Action>) -> String {
    use MessageKind as K;
    if let (K::Advice, Some(would)) = (kind, withheld) {
        return match (language, would) {
            (Language::English, Action::Rollback) => {
                format!("would roll back {what}: it looks faulty; nothing was done")
            }
            (Language::English, _) => format!("would pause {what}: it looks faulty; nothing was done"),
            (Language::SimplifiedChinese, Action::Rollback) => {
                format!("本应回滚 {what}：疑似有故障，未做任何操作")
            }
            (Language::SimplifiedChinese, _) => format!("本应暂停 {what}：疑似有故障，未做任何操作"),
        };
    }
    match language {
        Language::English => match kind {
            K::Advice => format!("{what} looks faulty; nothing was stopped"),
            K::Pausing => format!("{what} is being paused"),
            K::Paused => format!("{what} is paused"),
            K::RollingBack => format!("{what} is being rolled back"),
            K::RolledBack => format!("{what} was rolled back"),
            K::Blind => format!("{what} cannot be judged"),
            K::CommandFailed => format!("{what}: a command is not confirmed, please act by hand"),
            K::Course => format!("{what}: course of the release"),
            K::Unacknowledged => format!("{what} was to be paused and nobody has answered"),
            K::ChannelFailing => "Messages could not be delivered".to_owned(),
            K::Test => "Test message".to_owned(),
        },
        Language::SimplifiedChinese => match kind {
            K::Advice => format!("{what} 疑似有故障，未停止发布"),
            K::Pausing => format!("{what} 正在暂停发布"),
            K::Paused => format!("{what} 已暂停发布"),
            K::RollingBack => format!("{what} 正在回滚"),
            K::RolledBack => format!("{what} 已回滚"),
            K::Blind => format!("{what} 暂时无法判断"),
            K::CommandFailed => format!("{what} 指令未获确认，请人工处理"),
            K::Course => format!("{what} 发布进展"),
            K::Unacknowledged => format!("{what} 已下令暂停发布，尚无人响应"),
            K::ChannelFailing => "有消息未能送达".to_owned(),
            K::Test => "测试消息".to_owned(),
        },
    }
}

/// What happened, a sentence. The engine's is English: in another language a
/// sentence of its own says it, before the details that only the engine has.
pub fn sentence(language: Language, kind: MessageKind, engines: &str, withheld: Option<Action>) -> String {
    use MessageKind as K;
    match language {
        Language::English => engines.to_owned(),
        Language::SimplifiedChinese => match kind {
            K::Pausing => "已下令暂停此次发布，尚待发布系统确认。".to_owned(),
            K::RollingBack => "已下令回滚到旧版本，尚待发布系统确认。".to_owned(),
            K::Paused => format!("此次发布已暂停，{}", confirmed_in_chinese(engines)),
            K::RolledBack => format!("旧版本已恢复，{}", confirmed_in_chinese(engines)),
            K::Advice => match withheld {
                Some(Action::Rollback) => "发布组出现异常，本应回滚；仅提示，未干预发布。".to_owned(),
                Some(_) => "发布组出现异常，本应暂停发布；仅提示，未干预发布。".to_owned(),
                None => "发布组出现异常；仅提示，未干预发布。".to_owned(),
            },
            K::Unacknowledged => "暂停通知已超时，尚无人响应，现升级通知。".to_owned(),
            K::Test => "这是一条测试消息，没有发生任何事情。".to_owned(),
            K::Blind => format!("守护者缺少可用数据，暂时无法判断此次发布。详情：{engines}"),
            K::CommandFailed => format!("下达给发布系统的指令被拒绝或未获确认，请人工处理。详情：{engines}"),
            K::ChannelFailing => format!("以下渠道有消息未能送达。详情：{engines}"),
            K::Course => {
                course_in_chinese(engines).unwrap_or_else(|| format!("发布有新进展。详情：{engines}"))
            }
        },
    }
}

/// The course of a release, where the engine's sentence is one of those known.
fn course_in_chinese(engines: &str) -> Option<String> {
    if engines.ends_with(" began and is watched") {
        return Some("发布已开始，守护者正在观察。".to_owned());
    }
    if engines.ends_with(" was cancelled by the release system") {
        return Some("发布系统已取消此次发布，观察结束。".to_owned());
    }
    if engines.contains(": it goes on, ") {
        return Some(format!("发布已继续，{}", confirmed_in_chinese(engines)));
    }
    let orders = [
        (": an operator ordered to hold it: ", "已下令暂停发布，此后由人工决定。"),
        (": an operator ordered to resume it: ", "已下令继续发布，此后由人工决定。"),
        (": an operator ordered to roll it back: ", "已下令回滚。"),
        (": an operator handed it back to the guardian: ", "已将决定权交还守护者。"),
    ];
    orders.iter().find_map(|(english, chinese)| {
        let (_, who) = engines.split_once(english)?;
        Some(format!("{who} {chinese}"))
    })
}

/// Whether what was ordered was read back, as the engine's sentence ends.
fn confirmed_in_chinese(engines: &str) -> &'static str {
    if engines.ends_with("cannot be read back") {
        "指令已被接受，但无法回读其效果。"
    } else {
        "已回读发布系统的状态确认。"
    }
}

/// A detector's sentence, for reasons that have no numbers.
pub fn reason(language: Language, test: &str, detectors: &str) -> String {
    let chinese = match (language, test) {
        (Language::English, _) => return detectors.to_owned(),
        (Language::SimplifiedChinese, "instance_silent") => "实例失去响应",
        (Language::SimplifiedChinese, "crash_loop") => "实例反复重启",
        (Language::SimplifiedChinese, "error_burst") => "大量请求失败",
        (Language::SimplifiedChinese, "new_exception") => "出现发布前从未有过的异常",
        (Language::SimplifiedChinese, "business_stopped") => "业务计数停滞",
        (Language::SimplifiedChinese, "metrics_missing") => "指标缺失",
        (Language::SimplifiedChinese, "spreading") => "批次开始后两组同时恶化",
        (Language::SimplifiedChinese, "standstill") => "实例停滞，几乎所有计数不再增长",
        (Language::SimplifiedChinese, "outside_alert") => "外部告警触发",
        (Language::SimplifiedChinese, _) => "异常",
    };
    format!("{chinese}（{detectors}）")
}

/// `critical`, as people read it.
pub fn severity(language: Language, severity: Severity) -> &'static str {
    match (language, severity) {
        (Language::English, _) => severity.word(),
        (Language::SimplifiedChinese, Severity::Info) => "通知",
        (Language::SimplifiedChinese, Severity::Warning) => "警告",
        (Language::SimplifiedChinese, Severity::Critical) => "严重",
    }
}

/// What was decided, by whom, and how sure.
pub fn decided(
    language: Language,
    action: Action,
    would: Action,
    operator: Option<&str>,
    percent: &str,
) -> String {
    let word = |action| match (language, action) {
        (Language::English, Action::Proceed) => "proceed",
        (Language::English, Action::Advise) => "advise, nothing is stopped",
        (Language::English, Action::Pause) => "pause",
        (Language::English, Action::Rollback) => "roll back",
        (Language::SimplifiedChinese, Action::Proceed) => "继续发布",
        (Language::SimplifiedChinese, Action::Advise) => "仅提示，不停止发布",
        (Language::SimplifiedChinese, Action::Pause) => "暂停发布",
        (Language::SimplifiedChinese, Action::Rollback) => "回滚",
    };
    match language {
        Language::English => {
            let by = operator.map_or("by the guardian".to_owned(), |name| format!("by {name}"));
            let would = if would == action {
                String::new()
            } else {
                format!("; in enforce mode it would be: {}", word(would))
            };
            format!("{} ({by}; probability of a fault {percent}{would})", word(action))
        }
        Language::SimplifiedChinese => {
            let by = operator.map_or("由守护者决定".to_owned(), |name| format!("由 {name} 决定"));
            let would = if would == action {
                String::new()
            } else {
                format!("；若为执行模式则会：{}", word(would))
            };
            format!("{}（{by}，故障概率 {percent}{would}）", word(action))
        }
    }
}

/// How far it deviates.
pub fn strength(language: Language, strength: &str, of_limit: bool) -> String {
    match (language, of_limit) {
        (Language::English, false) => format!("{strength} × the noise"),
        (Language::English, true) => format!("{strength} × the limit"),
        (Language::SimplifiedChinese, false) => format!("为噪声的 {strength} 倍"),
        (Language::SimplifiedChinese, true) => format!("为阈值的 {strength} 倍"),
    }
}

/// Since when, and on how many instances.
pub fn since(language: Language, clock_time: &str) -> String {
    match language {
        Language::English => format!("since {clock_time}"),
        Language::SimplifiedChinese => format!("自 {clock_time} 起"),
    }
}

/// On how many instances it shows.
pub fn on_instances(language: Language, instances: usize) -> String {
    match language {
        Language::English if instances == 1 => "on 1 instance".to_owned(),
        Language::English => format!("on {instances} instances"),
        Language::SimplifiedChinese => format!("涉及 {instances} 个实例"),
    }
}

/// How many reasons are not shown.
pub fn more_reasons(language: Language, count: usize) -> String {
    match language {
        Language::English if count == 1 => "1 more signal deviates".to_owned(),
        Language::English => format!("{count} more signals deviate"),
        Language::SimplifiedChinese => format!("另有 {count} 个指标异常"),
    }
}

/// The past release that looked like this one.
pub fn similar(language: Language, release: &str, cause: Option<&str>) -> String {
    match (language, cause) {
        (Language::English, Some(cause)) => format!("Looks like {release}, which had: {cause}"),
        (Language::English, None) => format!("Looks like {release}, which was healthy"),
        (Language::SimplifiedChinese, Some(cause)) => format!("与 {release} 相似，当时的原因：{cause}"),
        (Language::SimplifiedChinese, None) => format!("与 {release} 相似，当时并无故障"),
    }
}

/// What happens next; `clock_time` is that of a rollback to come.
pub fn next(language: Language, next: Next, clock_time: &str) -> Option<String> {
    let text = match language {
        Language::English => match next {
            Next::Nothing => return None,
            Next::GoesOn => "The release goes on and is watched on.".to_owned(),
            Next::WaitsForPerson => "It stays paused until somebody resumes it or rolls it back.".to_owned(),
            Next::RollsBackAt(_) => format!(
                "It is rolled back at {clock_time} if the fault is still there and nobody resumes it before."
            ),
            Next::CountsAsFaulty => {
                "The release counts as faulty from now on, until somebody calls it a false alarm.".to_owned()
            }
            Next::Holds => "Nothing is sent; pipelines that ask are told to wait.".to_owned(),
            Next::ByHand => {
                "Do it by hand in the release system: the guardian's command was refused or is not confirmed."
                    .to_owned()
            }
        },
        Language::SimplifiedChinese => match next {
            Next::Nothing => return None,
            Next::GoesOn => "发布继续进行，守护者继续观察。".to_owned(),
            Next::WaitsForPerson => "发布保持暂停，直到有人选择继续或回滚。".to_owned(),
            Next::RollsBackAt(_) => {
                format!("若到 {clock_time} 故障仍在且无人选择继续，将自动回滚。")
            }
            Next::CountsAsFaulty => "此次发布将记为有故障，除非有人标记为误报。".to_owned(),
            Next::Holds => "不发送任何指令；查询结果的流水线会被要求等待。".to_owned(),
            Next::ByHand => "守护者的指令被拒绝或未获确认，请在发布系统中人工执行。".to_owned(),
        },
    };
    Some(text)
}

/// That what was ordered is not known to be done yet.
pub fn awaits(language: Language, clock_time: &str) -> String {
    match language {
        Language::English => {
            format!(
                "It is ordered, not confirmed: you are told when it is done, and at {clock_time} if it is not."
            )
        }
        Language::SimplifiedChinese => {
            format!("指令已下达、尚未确认：完成后会另行通知；若到 {clock_time} 仍未确认，也会通知。")
        }
    }
}

/// Two sentences as one text, as far as there are any.
pub fn together(language: Language, first: Option<String>, second: Option<String>) -> Option<String> {
    let space = match language {
        Language::English => " ",
        Language::SimplifiedChinese => "",
    };
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}{space}{second}")),
        (first, second) => first.or(second),
    }
}

/// The text of a link or of the button on its page.
pub fn link(language: Language, action: LinkAction) -> &'static str {
    match language {
        Language::English => match action {
            LinkAction::Acknowledge => "I am looking at it",
            LinkAction::Resume => "Resume",
            LinkAction::Rollback => "Roll back",
            LinkAction::FaultConfirmed => "It is a fault",
            LinkAction::FalseAlarm => "False alarm",
        },
        Language::SimplifiedChinese => match action {
            LinkAction::Acknowledge => "我来处理",
            LinkAction::Resume => "继续发布",
            LinkAction::Rollback => "回滚",
            LinkAction::FaultConfirmed => "确认故障",
            LinkAction::FalseAlarm => "误报",
        },
    }
}

/// The first line of a digest.
pub fn digest(language: Language, messages: usize) -> String {
    match language {
        Language::English => format!("{messages} messages about releases"),
        Language::SimplifiedChinese => format!("{messages} 条发布消息汇总"),
    }
}

/// How many messages a digest leaves out.
pub fn omitted(language: Language, messages: usize) -> String {
    match language {
        Language::English => format!("and {messages} more; see the guardian's pages"),
        Language::SimplifiedChinese => format!("另有 {messages} 条，请查看守护者页面"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_advised_begins_with_what_would_be_done() {
        let advice = |language, would| headline(language, MessageKind::Advice, "shop 2", would);
        let pause = Some(Action::Pause);
        let rollback = Some(Action::Rollback);
        assert!(advice(Language::English, pause).starts_with("would pause shop 2"));
        assert!(advice(Language::English, rollback).starts_with("would roll back shop 2"));
        assert!(advice(Language::SimplifiedChinese, pause).starts_with("本应暂停 shop 2"));
        assert!(advice(Language::SimplifiedChinese, rollback).starts_with("本应回滚 shop 2"));
        assert!(advice(Language::English, None).starts_with("shop 2 looks faulty"));
    }

    #[test]
    fn each_kind_is_said_in_chinese_and_keeps_what_only_the_engine_knows() {
        use MessageKind as K;
        let zh = |kind, text| sentence(Language::SimplifiedChinese, kind, text, None);
        for kind in K::ALL {
            assert_eq!(sentence(Language::English, kind, "It is so.", None), "It is so.");
            assert!(!zh(kind, "It is so.").starts_with("It"), "{kind:?}");
        }
        for (engines, said) in [
            ("shop/r-1 (version 2) began and is watched", "发布已开始，守护者正在观察。"),
            (
                "shop/r-1: it goes on, which the release system confirms: its state was read back",
                "发布已继续，已回读发布系统的状态确认。",
            ),
            ("shop/r-1 was cancelled by the release system", "发布系统已取消此次发布，观察结束。"),
            ("shop/r-1: an operator ordered to hold it: 李伟", "李伟 已下令暂停发布，此后由人工决定。"),
            ("shop/r-1: an operator ordered to resume it: li", "li 已下令继续发布，此后由人工决定。"),
            ("shop/r-1: an operator ordered to roll it back: li", "li 已下令回滚。"),
            ("shop/r-1: an operator handed it back to the guardian: li", "li 已将决定权交还守护者。"),
        ] {
            assert_eq!(zh(K::Course, engines), said);
        }
        let taken = zh(K::Paused, "x: it is paused, as far as is known: .. its effect cannot be read back");
        assert!(taken.contains("无法回读"), "{taken}");
        let failed = zh(K::CommandFailed, "pause of shop/r-1 was refused: 403");
        assert!(failed.contains("未获确认") && failed.contains("403"), "{failed}");
        let silent = reason(Language::SimplifiedChinese, "instance_silent", "10.0.0.1:9100 is silent");
        assert_eq!(silent, "实例失去响应（10.0.0.1:9100 is silent）");
    }
}
