//! `[server]`, `[store]`, `[recordings]`, `[log]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::http::parse_url;
use super::raw::Section;
use super::secret::{Secret, Surroundings, read_secret};

/// The HTTP interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its address as people and other systems reach it, for links.
    pub public_url: Url,
    /// Names besides that of `public_url` under which callers without a token
    /// reach it.
    pub allowed_hosts: Vec<String>,
    /// Who may do what.
    pub tokens: Vec<Token>,
    /// The role of a request without a token; none: it is refused.
    pub anonymous: Option<Role>,
}

/// A bearer token of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose; it stands in the audit. Unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where it is kept.
    pub secret: Secret,
}

/// What a caller of the interface may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Reports alerts from outside, asks gates and the judge: for senders
    /// whose token stands in an address.
    Reporter,
    /// Tells the course of releases, reports alerts, asks gates.
    Pipeline,
    /// Decides about releases, gives feedback; a viewer as well.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The word in settings and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Reporter => "reporter",
            Self::Pipeline => "pipeline",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

const ROLES: [(&str, Role); 5] = [
    ("viewer", Role::Viewer),
    ("reporter", Role::Reporter),
    ("pipeline", Role::Pipeline),
    ("operator", Role::Operator),
    ("admin", Role::Admin),
];

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The database file.
    pub path: PathBuf,
}

/// Where releases are saved, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recordings {
    /// The folder.
    pub dir: PathBuf,
    /// Recordings older than this many days are removed.
    pub keep_days: u32,
    /// The oldest are removed while all together are larger than this.
    pub keep_bytes: u64,
    /// How much history before the release is kept and judged against.
    pub before: Duration,
}

/// The guardian's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// What is written: a level, or directives such as `info,release_guardian=debug`.
    pub level: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// To the journal where there is one, otherwise text.
    Auto,
    /// Lines for people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// The journal's own protocol, with fields.
    Journald,
}

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8750);

pub(super) fn read_server(root: &Section<'_>) -> Server {
    let Some(section) = root.section("server") else {
        return Server {
            listen: LISTEN_DEFAULT,
            public_url: url_of(LISTEN_DEFAULT),
            allowed_hosts: Vec::new(),
            tokens: Vec::new(),
            anonymous: Some(Role::Admin),
        };
    };
    let listen =
        section.parsed("listen", "write an address and a port: \"127.0.0.1:8750\", \"[::1]:8750\"", |text| {
            text.parse::<SocketAddr>().map_err(|_| format!("{text:?} is not an address with a port"))
        });
    let listen_span = listen.as_ref().map_or_else(|| section.span(), |listen| listen.span());
    let listen = listen.map_or(LISTEN_DEFAULT, |listen| listen.into_inner());
    let public_url = section.parsed(
        "public_url",
        "write it as people reach it: \"https://guardian.example.com/\"",
        parse_url,
    );
    let allowed_hosts = read_hosts(&section);
    let tokens = read_tokens(&section);
    let words: Vec<(&str, Option<Role>)> =
        std::iter::once(("none", None)).chain(ROLES.map(|(word, role)| (word, Some(role)))).collect();
    let anonymous = section.word("anonymous", &words);
    if !listen.ip().is_loopback() && tokens.is_empty() && anonymous.is_none() {
        section.problem(
            listen_span,
            format!("the interface listens on {listen} and no token is configured"),
            "add a [[server.token]], listen on 127.0.0.1, or say with `anonymous` what everybody may do",
        );
    }
    // Without tokens only this machine reaches it: that is for trying out.
    let anonymous = anonymous.unwrap_or(tokens.is_empty().then_some(Role::Admin));
    Server {
        listen,
        public_url: public_url.map_or_else(|| url_of(listen), |url| url.into_inner()),
        allowed_hosts,
        tokens,
        anonymous,
    }
}

fn url_of(listen: SocketAddr) -> Url {
    let text = format!("http://{listen}/");
    // An address with a port is always a host and port of a URL.
    Url::parse(&text).unwrap_or_else(|error| unreachable!("{text} is a URL: {error}"))
}

fn read_hosts(section: &Section<'_>) -> Vec<String> {
    let hosts = section.texts("allowed_hosts").unwrap_or_default().into_iter().filter_map(|host| {
        let name = host.get_ref();
        let usable = matches!(url::Host::parse(name), Ok(url::Host::Domain(read)) if read == name.to_ascii_lowercase());
        if !usable {
            let help = "write the name alone, without scheme and port: \"guardian.example.com\"; addresses are \
                        always allowed";
            section.problem(host.span(), format!("{name:?} is not the name of a host"), help);
        }
        usable.then(|| host.into_inner())
    });
    hosts.collect()
}

fn read_tokens(section: &Section<'_>) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for table in section.sections("token") {
        let name = table.required_text("name", "name whose token it is; the audit shows it");
        let role = table.word("role", &ROLES);
        if role.is_none() && !table.has("role") {
            table.missing("role", "write viewer, reporter, pipeline, operator or admin");
        }
        let secret = read_secret(&table, "secret");
        if !table.has("secret") {
            table.missing("secret", "write where it is: secret = { credential = \"name\" }");
        }
        let (Some(name), Some(role), Some(secret)) = (name, role, secret) else { continue };
        if tokens.iter().any(|token| token.name == *name.get_ref()) {
            table.problem(
                name.span(),
                format!("there are two tokens named {:?}", name.get_ref()),
                "rename one",
            );
            continue;
        }
        tokens.push(Token { name: name.into_inner(), role, secret });
    }
    tokens
}

/// systemd gives the folder of `StateDirectory=`; elsewhere it is the folder
/// in which the guardian was started.
fn state_directory(surroundings: &dyn Surroundings) -> PathBuf {
    let first = surroundings
        .variable("STATE_DIRECTORY")
        .and_then(|folders| folders.split(':').next().filter(|folder| !folder.is_empty()).map(PathBuf::from));
    first.unwrap_or_else(|| PathBuf::from("."))
}

pub(super) fn read_store(root: &Section<'_>, surroundings: &dyn Surroundings) -> Store {
    let path = root.section("store").and_then(|section| read_path(&section, "path"));
    Store { path: path.unwrap_or_else(|| state_directory(surroundings).join("guardian.db")) }
}

fn read_path(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    if !section.has(key) {
        let _ = section.value(key);
        return None;
    }
    section.required_text(key, "write a path").map(|path| PathBuf::from(path.into_inner()))
}

pub(super) fn read_recordings(root: &Section<'_>, surroundings: &dyn Surroundings) -> Recordings {
    let mut recordings = Recordings {
        dir: state_directory(surroundings).join("recordings"),
        keep_days: 365,
        keep_bytes: 10 << 30,
        before: Duration::from_secs(3600),
    };
    let Some(section) = root.section("recordings") else { return recordings };
    if let Some(dir) = read_path(&section, "dir") {
        recordings.dir = dir;
    }
    if let Some(days) = section.count("keep_days", 1..=36_500) {
        recordings.keep_days = days;
    }
    if let Some(bytes) = section.bytes("keep_bytes", 1 << 20..=1 << 50) {
        recordings.keep_bytes = bytes;
    }
    if let Some(before) =
        section.duration("before", Duration::from_secs(300)..=Duration::from_secs(7 * 86_400))
    {
        recordings.before = before;
    }
    recordings
}

pub(super) fn read_log(root: &Section<'_>) -> Log {
    let mut log = Log { format: LogFormat::Auto, level: "info".to_owned() };
    let Some(section) = root.section("log") else { return log };
    let formats = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    if let Some(format) = section.word("format", &formats) {
        log.format = format;
    }
    let help = "write error, warn, info, debug or trace, or directives: \"info,release_guardian=debug\"";
    let level = section.parsed("level", help, |text| {
        let directives = text.parse::<tracing_subscriber::filter::Targets>();
        directives.map(|_| text.to_owned()).map_err(|error| error.to_string())
    });
    if let Some(level) = level {
        log.level = level.into_inner();
    }
    log
}
