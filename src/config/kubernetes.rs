//! An object of a Kubernetes cluster that commands are sent to, and how the
//! cluster's API server is reached.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::http::read_url;
use super::raw::Section;
use super::secret::{Secret, read_secret};

/// An object of a cluster that commands are carried out on.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesObject {
    /// Where it is.
    pub namespace: String,
    /// Its name; the application's if absent.
    pub name: Option<String>,
    /// How its API server is reached.
    pub api: ApiServer,
    /// How often it is looked at after a command, until the command's
    /// deadline.
    pub interval: Duration,
}

/// How an API server is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiServer {
    /// Its address; absent: that of the cluster in which the guardian runs.
    pub address: Option<Url>,
    /// Who we are to it.
    pub token: ApiToken,
    /// PEM file of the authorities that are believed; absent: in a cluster the
    /// service account's, otherwise the system's.
    pub ca_file: Option<PathBuf>,
    /// The name under which the cluster notes what we changed.
    pub field_manager: String,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Who we are to an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiToken {
    /// The service account of the guardian's own pod.
    ServiceAccount,
    /// Nobody, as behind `kubectl proxy`.
    None,
    /// Fetched once.
    Secret(Secret),
    /// Read for each request: tokens in files are replaced while we run.
    File(PathBuf),
}

const SECOND: Duration = Duration::from_secs(1);
const NAME_HELP: &str = "write the name as `kubectl get` shows it: lower-case letters, digits and hyphens";

/// Reads the object of a `release_system`.
pub(super) fn read_kubernetes_object(section: &Section<'_>) -> Option<KubernetesObject> {
    let namespace =
        section.required_text("namespace", "write the namespace of the object").and_then(|written| {
            let is_name = is_name(written.get_ref(), 63) && !written.get_ref().contains('.');
            if !is_name {
                let what = format!("{:?} is not the name of a namespace", written.get_ref());
                section.problem(written.span(), what, NAME_HELP);
            }
            is_name.then(|| written.into_inner())
        });
    let name = section.text("name");
    if let Some(written) = &name
        && !is_name(written.get_ref(), 253)
    {
        let what = format!("{:?} is not the name of an object", written.get_ref());
        section.problem(written.span(), what, NAME_HELP);
    }
    let api = read_api_server(section);
    let interval =
        section.duration("interval", Duration::from_millis(100)..=60 * SECOND).unwrap_or(2 * SECOND);
    let name = name.map(|name| name.into_inner());
    Some(KubernetesObject { namespace: namespace?, name, api, interval })
}

fn read_api_server(section: &Section<'_>) -> ApiServer {
    let address = read_url(section, "api_server");
    let token = read_secret(section, "token");
    let token_file = section.text("token_file");
    if let Some(file) = &token_file
        && section.has("token")
    {
        let help = "keep `token_file` if the token is replaced while the guardian runs, otherwise `token`";
        section.problem(file.span(), "there are both `token` and `token_file`", help);
    }
    let token = match (token, token_file) {
        (_, Some(file)) => ApiToken::File(PathBuf::from(file.into_inner())),
        (Some(secret), None) => ApiToken::Secret(secret),
        (None, None) if section.has("api_server") => ApiToken::None,
        (None, None) => ApiToken::ServiceAccount,
    };
    if let (Some(url), true) = (&address, token != ApiToken::None)
        && url.scheme() == "http"
        && !is_loopback(url)
    {
        let span = section.value("api_server").map_or_else(|| section.span(), toml::Spanned::span);
        let help = "write https://, or an address of this machine such as that of `kubectl proxy`";
        section.problem(span, format!("the token would be sent to {url} in clear text"), help);
    }
    let field_manager = section.text("field_manager").map_or_else(
        || "release-guardian".to_owned(),
        |written| {
            let usable = (1..=128).contains(&written.get_ref().len())
                && written.get_ref().chars().all(|c| c.is_ascii_graphic() || c == ' ');
            if !usable {
                let help = "write 1 to 128 printable characters";
                section.problem(written.span(), "`field_manager` cannot be sent", help);
            }
            written.into_inner()
        },
    );
    let timeout =
        section.duration("timeout", Duration::from_millis(100)..=120 * SECOND).unwrap_or(10 * SECOND);
    let ca_file = section.text("ca_file").map(|path| PathBuf::from(path.into_inner()));
    ApiServer { address, token, ca_file, field_manager, timeout }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether it is a name of Kubernetes: what else would leave its place in an
/// address.
pub(super) fn is_name(text: &str, bytes_max: usize) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= bytes_max
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| edge(Some(b)) || matches!(b, b'-' | b'.'))
        && !text.contains("..")
}
