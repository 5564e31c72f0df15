//! How an event ended, and what kind of error it was, as labels tell it.

use crate::domain::SeriesKey;

/// Labels whose value says how a request or call ended.
const RESULT_LABELS: &[&str] = &[
    "code",
    "status",
    "status_code",
    "status_class",
    "code_class",
    "http_code",
    "http_status",
    "http_status_code",
    "http_response_status_code",
    "response_code",
    "response_code_class",
    "envoy_response_code",
    "envoy_response_code_class",
    "grpc_code",
    "grpc_status",
    "rpc_grpc_status_code",
    "result",
    "outcome",
    "success",
    "state",
    "returncode",
    "class",
    "completion",
    "disposition",
    "error",
    "is_error",
    "failed",
    "kind",
    "verdict",
    "ret",
    "ret_code",
    "retcode",
    "errno",
    "err_code",
    "errcode",
    "exit_code",
    "exit_status",
];

/// Those whose 0 is success, and all other numbers are not.
const ZERO_IS_GOOD: &[&str] =
    &["ret", "ret_code", "retcode", "returncode", "errno", "err_code", "errcode", "exit_code", "exit_status"];

/// Labels whose value names a kind of error.
const ERROR_KIND_LABELS: &[&str] = &[
    "exception",
    "exception_type",
    "exception_class",
    "error_type",
    "error_class",
    "error_kind",
    "errortype",
    "error_code",
    "reason",
    "cause",
    "error_name",
    "type",
    "kind",
    "class",
];

/// Values of result labels that mean failure.
const BAD_VALUES: &[&str] = &[
    "error",
    "errors",
    "err",
    "fail",
    "failed",
    "failure",
    "failures",
    "rejected",
    "reject",
    "declined",
    "denied",
    "exception",
    "timeout",
    "timed_out",
    "timedout",
    "aborted",
    "abort",
    "unavailable",
    "server_error",
    "internal",
    "unknown",
    "deadline_exceeded",
    "deadlineexceeded",
    "data_loss",
    "dataloss",
    "resource_exhausted",
    "resourceexhausted",
    "unimplemented",
    "internal_error",
    "dropped",
    "dead",
    "deadletter",
    "dead_letter",
    "nack",
    "nok",
    "ko",
    "bad",
    "crashed",
    "expired",
    "overload",
    "overloaded",
    "panic",
    "fatal",
    "lost",
    "invalid",
];

/// What values that mean failure begin or end with: `db_error`, `failed_with_retry`.
const BAD_STEMS: &[&str] = &["error", "exception", "failed", "failure", "timeout", "rejected"];

/// Values of result labels that mean success.
const GOOD_VALUES: &[&str] = &[
    "ok",
    "success",
    "successful",
    "succeeded",
    "succeed",
    "completed",
    "complete",
    "processed",
    "accepted",
    "done",
    "delivered",
    "ack",
    "acked",
    "approved",
    "passed",
    "pass",
    "hit",
    "good",
    "sent",
    "finished",
    "none",
    "informational",
    "redirection",
    "cancelled",
    "canceled",
    "created",
    "miss",
    "paid",
    "confirmed",
    "valid",
    "allowed",
    "permitted",
    "published",
    "saved",
    "stored",
    "no_error",
];

/// Values of result labels that blame the caller.
const REFUSED_VALUES: &[&str] = &[
    "client_error",
    "not_found",
    "notfound",
    "invalid_argument",
    "invalidargument",
    "already_exists",
    "alreadyexists",
    "permission_denied",
    "permissiondenied",
    "unauthenticated",
    "unauthorized",
    "forbidden",
    "failed_precondition",
    "failedprecondition",
    "out_of_range",
    "outofrange",
];

/// How one value of a result label counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultValue {
    /// Success.
    Good,
    /// By the server's word the caller's own fault.
    Refused,
    /// Failure.
    Bad,
}

/// What a label with results says of this series; nothing if no label says.
pub fn result_of(series: &SeriesKey) -> Option<(&str, ResultValue)> {
    let known = RESULT_LABELS.iter().filter_map(|label| Some((*label, series.label(label)?)));
    // However an exporter writes it: `statusCode`, `http.response.status`.
    let others = series.labels().filter(|(label, _)| is_result_label(label));
    known.chain(others).find_map(|(label, value)| {
        // Among failures the kind is one of failure; `5xx` is a result everywhere.
        let names_kind =
            matches!(label, "kind" | "class") && !value.starts_with(|c: char| c.is_ascii_digit());
        if names_kind && super::has_stem(series.name(), &["error", "exception", "fail", "fault"]) {
            return None;
        }
        // What expired in a cache is looked up again.
        if super::has_word(series.name(), &["cache", "caches"]) && value.eq_ignore_ascii_case("expired") {
            return None;
        }
        Some((label, result_value(label, value)?))
    })
}

/// Whether a label says by its name that its value is how an event ended.
pub fn is_result_label(label: &str) -> bool {
    const CODES_OF: &[&str] = &["response", "resp", "http", "rpc", "grpc", "return", "exit", "result"];
    RESULT_LABELS.contains(&label)
        || super::has_word(label, &["status"])
        || (super::has_word(label, &["code"]) && super::has_word(label, CODES_OF))
}

fn result_value(label: &str, value: &str) -> Option<ResultValue> {
    let lower = value.to_ascii_lowercase().replace([' ', '-'], "_");
    if matches!(label, "success") {
        return match lower.as_str() {
            "true" | "1" | "yes" => Some(ResultValue::Good),
            "false" | "0" | "no" => Some(ResultValue::Bad),
            _ => None,
        };
    }
    if matches!(label, "error" | "is_error" | "failed") {
        return match lower.as_str() {
            "true" | "1" | "yes" => Some(ResultValue::Bad),
            "false" | "0" | "no" | "" | "none" => Some(ResultValue::Good),
            _ => None,
        };
    }
    if label.contains("grpc") && !lower.is_empty() && lower.bytes().all(|b| b.is_ascii_digit()) {
        // Status numbers of gRPC: those that are the server's fault.
        return Some(match lower.as_str() {
            "2" | "4" | "8" | "12" | "13" | "14" | "15" => ResultValue::Bad,
            "3" | "5" | "6" | "7" | "9" | "11" | "16" => ResultValue::Refused,
            _ => ResultValue::Good,
        });
    }
    if ZERO_IS_GOOD.contains(&label) && lower.parse::<i64>().is_ok() {
        return Some(if lower == "0" { ResultValue::Good } else { ResultValue::Bad });
    }
    let digits = lower.trim_end_matches('x');
    if (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
        let is_class = lower.len() == 3 || (digits.len() == 1 && lower.len() == 1);
        if is_class {
            return match digits.as_bytes()[0] {
                b'5' => Some(ResultValue::Bad),
                b'4' => Some(ResultValue::Refused),
                b'1'..=b'3' => Some(ResultValue::Good),
                _ => None,
            };
        }
        return None;
    }
    if GOOD_VALUES.contains(&lower.as_str()) {
        Some(ResultValue::Good)
    } else if REFUSED_VALUES.contains(&lower.as_str()) {
        Some(ResultValue::Refused)
    } else if BAD_VALUES.contains(&lower.as_str()) {
        Some(ResultValue::Bad)
    } else if ["success", "succeeded"].iter().any(|stem| lower.starts_with(stem)) {
        Some(ResultValue::Good)
    } else if BAD_STEMS.iter().any(|stem| lower.starts_with(stem) || lower.ends_with(stem)) {
        Some(ResultValue::Bad)
    } else {
        None
    }
}

/// Whether a label says by its name that its values are kinds of error.
pub fn is_error_label(label: &str) -> bool {
    super::has_stem(label, &["error", "exception"])
}

/// The label that names the kind of error, and its value.
pub fn error_kind_of(series: &SeriesKey) -> Option<(&'static str, &str)> {
    ERROR_KIND_LABELS.iter().find_map(|label| Some((*label, series.label(label)?)))
}
