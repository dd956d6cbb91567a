//! Where the hub and its cache are: the environment variables of Python's `huggingface_hub`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::Uri;

use super::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";
/// Pauses before further tries, in units of the first.
const PAUSES: [u32; 4] = [1, 2, 4, 8];
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Without an answer, or a byte of one, for so long, the connection counts as dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the hub and its cache are, and how long to wait.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the repositories: `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Sent to the endpoint, and to nobody else.
    pub token: Option<Token>,
    /// Nobody is to be asked.
    pub offline: bool,
    /// PEM file of the authorities to trust, in the place of those that are built in.
    pub roots: Option<PathBuf>,
    /// How long to wait for an answer, or for more of one.
    pub patience: Duration,
    /// Pauses before further tries.
    pub pauses: Vec<Duration>,
}

/// An access token. It shows in no message.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Settings {
    /// As the environment says.
    ///
    /// # Errors
    /// [`Error::Setting`] if `HF_ENDPOINT` is no address or the token is none.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(&|name| std::env::var_os(name), std::env::home_dir().as_deref())
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>, user: Option<&Path>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| set(name).map(|value| expand(&PathBuf::from(value), user));
        let on = |name: &str| text(name).is_some_and(|word| is_true(&word));
        let user_cache = path("XDG_CACHE_HOME").unwrap_or_else(|| user.unwrap_or(Path::new(".")).join(".cache"));
        let home = path("HF_HOME").unwrap_or_else(|| user_cache.join("huggingface"));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub"));
        let endpoint = endpoint(&text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()))?;
        let token_file = || path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let given = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
        let token = match given {
            _ if on("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some(word) => token("HF_TOKEN", &word)?,
            // Without such a file there is no token; an unreadable one is as good as none, as in Python.
            None => std::fs::read_to_string(token_file())
                .ok()
                .map(|word| token("HF_TOKEN_PATH", &word))
                .transpose()?
                .flatten(),
        };
        let seconds = |name: &str| text(name).and_then(|word| word.parse().ok()).filter(|secs| *secs > 0);
        let first = text("RETORT_HUB_RETRY_MS").and_then(|word| word.parse().ok()).map(Duration::from_millis);
        Ok(Self {
            cache,
            endpoint,
            token,
            roots: path("REQUESTS_CA_BUNDLE").or_else(|| path("CURL_CA_BUNDLE")).or_else(|| {
                // Others pass over it where there is no such file.
                path("SSL_CERT_FILE").filter(|file| file.is_file())
            }),
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            patience: seconds("HF_HUB_DOWNLOAD_TIMEOUT").map_or(PATIENCE, Duration::from_secs),
            pauses: PAUSES.map(|units| first.unwrap_or(FIRST_PAUSE) * units).to_vec(),
        })
    }
}

/// The address of a hub, without a slash at its end.
fn endpoint(word: &str) -> Result<String> {
    let address: Option<Uri> = word.parse().ok();
    if address.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
        return Ok(word.trim_end_matches('/').to_owned());
    }
    Err(Error::Setting { name: "HF_ENDPOINT", problem: format!("{word:?} is no http(s) address") })
}

/// What Python's `huggingface_hub` takes for yes.
fn is_true(word: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&word.to_ascii_lowercase().as_str())
}

fn expand(path: &Path, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), user) {
        (Ok(below), Some(user)) => user.join(below),
        _ => path.to_owned(),
    }
}

fn token(name: &'static str, word: &str) -> Result<Option<Token>> {
    let word = word.trim();
    if !word.bytes().all(|c| c.is_ascii_graphic()) {
        let problem = "it has characters that no token has; it is not shown here".to_owned();
        return Err(Error::Setting { name, problem });
    }
    Ok((!word.is_empty()).then(|| Token(word.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Settings::from_variables(&find, Some(Path::new("/home/me")))
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        for (variables, expected) in [
            (&[][..], "/home/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")], "/home/me/hf/hub"),
            (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")], "/new"),
            (&[("HF_HUB_CACHE", "")], "/home/me/.cache/huggingface/hub"),
        ] {
            assert_eq!(settings(variables).unwrap().cache, Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn a_token_is_of_the_environment_or_of_its_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let of = |variables: &[(&str, &str)]| settings(variables).unwrap().token.map(|token| token.0);
        assert_eq!(of(&[("HF_HOME", home)]), None);
        std::fs::write(folder.path().join("token"), " hf_file\n").unwrap();
        std::fs::write(folder.path().join("other"), "hf_other").unwrap();
        let other = folder.path().join("other");
        let other = ("HF_TOKEN_PATH", other.to_str().unwrap());
        assert_eq!(of(&[("HF_HOME", home)]).as_deref(), Some("hf_file"));
        assert_eq!(of(&[("HF_HOME", home), other]).as_deref(), Some("hf_other"));
        assert_eq!(of(&[("HF_HOME", home), ("HF_TOKEN", "hf_word\r\n")]).as_deref(), Some("hf_word"));
        assert_eq!(of(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let shown = format!("{:?}", settings(&[("HF_TOKEN", "hf_word")]).unwrap());
        assert!(!shown.contains("hf_word"), "{shown}");
        let refused = settings(&[("HF_TOKEN", "hf_\u{e9}")]).unwrap_err().to_string();
        assert!(refused.contains("HF_TOKEN") && !refused.contains("hf_\u{e9}"), "{refused}");
    }

    #[test]
    fn the_endpoint_is_an_address() {
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror:8080/hf/")]).unwrap().endpoint, "http://mirror:8080/hf");
        assert_eq!(settings(&[]).unwrap().endpoint, "https://huggingface.co");
        for word in ["mirror", "ftp://mirror", "mirror:80", "http://"] {
            let refused = settings(&[("HF_ENDPOINT", word)]).unwrap_err().to_string();
            assert!(refused.contains("HF_ENDPOINT") && refused.contains(word), "{refused}");
        }
    }

    #[test]
    fn authorities_are_those_that_python_trusts() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("SSL_CERT_FILE", "/nowhere.pem")], None),
            (&[("SSL_CERT_FILE", "/dev/null/../null")], None),
            (&[("CURL_CA_BUNDLE", "/curl.pem")], Some("/curl.pem")),
            (&[("CURL_CA_BUNDLE", "/curl.pem"), ("REQUESTS_CA_BUNDLE", "~/own.pem")], Some("/home/me/own.pem")),
        ] {
            assert_eq!(settings(variables).unwrap().roots.as_deref(), expected.map(Path::new), "{variables:?}");
        }
    }

    #[test]
    fn offline_is_what_python_takes_for_yes() {
        for (value, expected) in [("1", true), ("TRUE", true), ("yes", true), ("On", true), ("0", false), ("no", false)]
        {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).unwrap().offline, expected, "{value}");
        }
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).unwrap().offline);
        assert!(!settings(&[]).unwrap().offline);
    }
}
