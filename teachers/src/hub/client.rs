//! Questions to the hub: redirects followed by hand, for the token and the hash come with the first answer alone; tries again
//! where that may help.

use std::path::Path;
use std::time::{Duration, Instant};

use retort_cache::{Error as CacheError, Interrupt};
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::digest::is_hash;
use super::listing::{Listing, Remote};
use super::{Error, File, HubId, Result, Settings};

const REDIRECTS: usize = 8;
/// Most bytes of a list of files.
const LONGEST_LISTING: u64 = 64 << 20;
/// Longest pause that the hub can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// What the hub says where a token is none of its own.
const BAD_TOKEN: &str = "Invalid credentials in Authorization header";

/// Asks about one model.
pub(super) struct Client<'a> {
    pub id: &'a HubId,
    pub interrupt: &'a Interrupt,
    settings: &'a Settings,
    endpoint: Uri,
    agent: Agent,
}

/// An answer that is no refusal.
pub(super) struct Answer {
    /// Who gave it.
    pub url: String,
    /// Status 200 or 206.
    pub response: Response<Body>,
    /// Hash and size of the file, as the hub told in its own answers.
    told: (Option<String>, Option<u64>),
}

#[derive(Clone, Copy, PartialEq)]
enum Ask {
    /// The content, from this byte on.
    From(u64),
    /// The headers.
    About,
}

impl<'a> Client<'a> {
    pub(super) fn new(id: &'a HubId, settings: &'a Settings, interrupt: &'a Interrupt) -> Result<Self> {
        let endpoint = address(&settings.endpoint)?;
        let patience = Some(settings.patience);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("retort/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls(settings.roots.as_deref())?)
            .timeout_resolve(patience)
            .timeout_connect(patience)
            .timeout_recv_response(patience)
            .timeout_per_read(patience)
            .build()
            .new_agent();
        Ok(Self { id, interrupt, settings, endpoint, agent })
    }

    /// Commit and files of the revision.
    pub(super) fn listing(&self) -> Result<Listing> {
        let revision = self.id.revision().replace('#', "%23").replace('+', "%2B").replace('/', "%2F");
        let url =
            format!("{}/api/models/{}/revision/{revision}?blobs=true", self.settings.endpoint, self.id.repository());
        let json = self.persist(&mut |_| {
            let answer = self.ask(&url, Ask::From(0))?;
            let body = answer.response.into_body().into_with_config().limit(LONGEST_LISTING);
            body.read_to_vec().map_err(|source| Error::NoAnswer { url: answer.url, source: Box::new(source) })
        })?;
        Listing::parse(&json).map_err(|problem| Error::Unexpected { url, problem })
    }

    /// A file with size and hash, for which the hub is asked where its list told neither.
    pub(super) fn with_hash(&self, commit: &str, file: Remote) -> Result<File> {
        if let Remote { path, bytes: Some(bytes), hash: Some(hash) } = file {
            return Ok(File { path, bytes, hash });
        }
        let url = self.url(commit, &file.path);
        let (hash, bytes) = self.persist(&mut |_| Ok(self.ask(&url, Ask::About)?.told))?;
        match (file.hash.or(hash), file.bytes.or(bytes)) {
            (Some(hash), Some(bytes)) => Ok(File { path: file.path, bytes, hash }),
            _ => {
                let problem = "it tells no size and sha256 or git sha1 to check the file by".to_owned();
                Err(Error::Unexpected { url, problem })
            }
        }
    }

    /// The content of a file from a byte on; an answer of status 200 has all of it.
    pub(super) fn content(&self, commit: &str, file: &File, from: u64) -> Result<Answer> {
        let answer = self.ask(&self.url(commit, &file.path), Ask::From(from))?;
        match &answer.told.0 {
            Some(told) if *told != file.hash => Err(Error::Unexpected {
                url: answer.url,
                problem: format!("it tells the hash {told}, the list of files {}", file.hash),
            }),
            _ => Ok(answer),
        }
    }

    fn url(&self, commit: &str, path: &str) -> String {
        format!("{}/{}/resolve/{commit}/{path}", self.settings.endpoint, self.id.repository())
    }

    /// Does something until it works, fails for good, or has failed in passing once more than there are pauses. `got_on` is set
    /// by whom it pays to begin counting anew.
    pub(super) fn persist<T>(&self, attempt: &mut dyn FnMut(&mut bool) -> Result<T>) -> Result<T> {
        let mut pauses = self.settings.pauses.iter();
        loop {
            self.interrupt.check()?;
            let mut got_on = false;
            let error = match attempt(&mut got_on) {
                Err(error) if error.may_pass() => error,
                done => return done,
            };
            if got_on {
                pauses = self.settings.pauses.iter();
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            let asked = match &error {
                Error::Status { retry_after: Some(seconds), .. } => Duration::from_secs(*seconds).min(LONGEST_PAUSE),
                _ => Duration::ZERO,
            };
            self.wait(asked.max(*pause))?;
        }
    }

    fn wait(&self, pause: Duration) -> Result<()> {
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.interrupt.check()?;
            std::thread::sleep(left.min(LOOK));
        }
        Ok(())
    }

    /// Asks, and whomever the answer points to.
    fn ask(&self, url: &str, what: Ask) -> Result<Answer> {
        let mut uri = address(url)?;
        let mut told = (None, None);
        for _ in 0..REDIRECTS {
            let response = self.ask_one(&uri, what)?;
            let (status, headers) = (response.status(), response.headers());
            let own = self.is_endpoint(&uri);
            if own {
                told = (
                    told.0.or(hash_in(headers, status.is_redirection())),
                    told.1.or(size_in(headers, status.is_redirection())),
                );
            }
            if !status.is_redirection() {
                let url = uri.to_string();
                return match status.as_u16() {
                    200 | 206 => Ok(Answer { url, response, told }),
                    _ => Err(self.refusal(url, status.as_u16(), headers, own)),
                };
            }
            let next = text(headers, LOCATION.as_str()).and_then(|location| redirected(&uri, location));
            let next = next
                .ok_or_else(|| Error::Unexpected { url: uri.to_string(), problem: "it points nowhere".to_owned() })?;
            // Whoever keeps the content of large files need not know of headers.
            if what == Ask::About && !self.is_endpoint(&next) {
                return Ok(Answer { url: uri.to_string(), response, told });
            }
            uri = next;
        }
        Err(Error::Unexpected { url: url.to_owned(), problem: format!("more than {REDIRECTS} redirections") })
    }

    fn ask_one(&self, uri: &Uri, what: Ask) -> Result<Response<Body>> {
        let mut request = if what == Ask::About { self.agent.head(uri) } else { self.agent.get(uri) };
        // Ranges and hashes are of the plain bytes.
        request = request.header(ACCEPT_ENCODING, "identity");
        if let Ask::From(from @ 1..) = what {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.settings.token.as_ref().filter(|_| self.is_endpoint(uri)) {
            request = request.header(AUTHORIZATION, token.header());
        }
        request.call().map_err(|source| Error::NoAnswer { url: uri.to_string(), source: Box::new(source) })
    }

    /// Whether an address is the hub's own: nobody else gets the token or is believed a hash.
    fn is_endpoint(&self, uri: &Uri) -> bool {
        uri.scheme() == self.endpoint.scheme() && uri.authority() == self.endpoint.authority()
    }

    fn refusal(&self, url: String, status: u16, headers: &HeaderMap, own: bool) -> Error {
        let said = text(headers, "x-error-message").unwrap_or_default().to_owned();
        let code = text(headers, "x-error-code").unwrap_or_default();
        let (id, endpoint, with_token) =
            (self.id.clone(), self.settings.endpoint.clone(), self.settings.token.is_some());
        let listing = url.contains("/api/models/");
        match (code, status) {
            _ if !own => Error::Status { url, status, said, retry_after: None },
            ("RevisionNotFound", _) => Error::NoRevision { id, endpoint },
            ("RepoNotFound", _) => Error::NoRepository { id, endpoint, status, said },
            // Without a token it does not tell private repositories from those that do not exist.
            ("", 401) if listing && said != BAD_TOKEN => Error::NoRepository { id, endpoint, status, said },
            ("", 404) if listing => Error::NoRepository { id, endpoint, status, said },
            (_, 401 | 403) => Error::Refused { id, endpoint, status, said, with_token },
            _ => {
                let retry_after = text(headers, RETRY_AFTER.as_str()).and_then(|word| word.parse().ok());
                Error::Status { url, status, said, retry_after }
            }
        }
    }
}

/// Trust in the authorities of a PEM file, else in Mozilla's.
fn tls(roots: Option<&Path>) -> Result<TlsConfig> {
    let Some(path) = roots else { return Ok(TlsConfig::default()) };
    let pem = std::fs::read(path).map_err(CacheError::io("read", path))?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem).filter_map(certificate).collect();
    if certificates.is_empty() {
        let problem = format!("{} has no certificate in PEM", path.display());
        return Err(Error::Setting { name: "REQUESTS_CA_BUNDLE", problem });
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::from(certificates)).build())
}

fn address(url: &str) -> Result<Uri> {
    url.parse().map_err(|_| Error::Unexpected { url: url.to_owned(), problem: "it is no address".to_owned() })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The hash that the hub tells of a file. The `ETag` of a redirection is that of the redirection.
fn hash_in(headers: &HeaderMap, redirection: bool) -> Option<String> {
    let plain = |name: &str| text(headers, name).map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
    let linked = plain("x-linked-etag");
    let own = || plain(ETAG.as_str()).filter(|_| !redirection);
    linked.or_else(own).filter(|etag| is_hash(etag))
}

fn size_in(headers: &HeaderMap, redirection: bool) -> Option<u64> {
    let number = |name: &str| text(headers, name).and_then(|word| word.parse().ok());
    number("x-linked-size").or_else(|| number(CONTENT_LENGTH.as_str()).filter(|_| !redirection))
}

/// Where a redirection leads; never from HTTPS to HTTP.
fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let whole = match location {
        _ if location.contains("://") => location.to_owned(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
        _ => return None,
    };
    let to: Uri = whole.parse().ok()?;
    let known = matches!((scheme, to.scheme_str()?), (_, "https") | ("http", "http"));
    (known && to.host().is_some()).then_some(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_resolved_and_never_leave_https() {
        let from: Uri = "https://hub.co/a/b".parse().unwrap();
        for (location, expected) in [
            ("/c?d=e", Some("https://hub.co/c?d=e")),
            ("https://cdn.co/x?sig=1", Some("https://cdn.co/x?sig=1")),
            ("//cdn.co/x", Some("https://cdn.co/x")),
            ("http://cdn.co/x", None),
            ("file:///etc/passwd", None),
            ("c", None),
        ] {
            assert_eq!(redirected(&from, location).map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        }
        let plain: Uri = "http://mirror:80/a".parse().unwrap();
        assert!(redirected(&plain, "http://other/x").is_some() && redirected(&plain, "https://other/x").is_some());
    }

    #[test]
    fn a_file_of_authorities_has_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.pem");
        assert!(tls(Some(&path)).unwrap_err().to_string().contains("own.pem"));
        std::fs::write(&path, "-----BEGIN NOTHING-----").unwrap();
        let refused = tls(Some(&path)).unwrap_err().to_string();
        assert!(refused.contains("own.pem has no certificate"), "{refused}");
        assert!(tls(None).is_ok());
    }

    #[test]
    fn tls_is_spoken_and_its_failure_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = [0; 3];
            std::io::Read::read_exact(&mut stream, &mut first).unwrap();
            first
        });
        let settings = Settings {
            cache: std::path::PathBuf::new(),
            endpoint,
            token: None,
            offline: false,
            roots: None,
            patience: Duration::from_secs(5),
            pauses: Vec::new(),
        };
        let (id, interrupt) = ("a/b".parse().unwrap(), Interrupt::default());
        let error = Client::new(&id, &settings, &interrupt).unwrap().listing().unwrap_err();
        assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");
        // A record of a TLS handshake, version 3.x.
        assert_eq!(server.join().unwrap()[..2], [22, 3]);
    }
}
