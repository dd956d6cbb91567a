//! What cannot be had is refused with a reason, and nothing wrong is kept.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use retort_teachers::hub::{Error, Settings};

use super::{Set, WEIGHTS, assert_says, ran};
use crate::support::hub::{COMMIT, Fault, TOKEN, git_sha1, sha256};
use crate::support::{Result, copy_folder, tree_names};

#[test]
fn a_file_that_is_not_what_the_hub_says_is_refused_and_not_kept() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    for (path, kind) in [(WEIGHTS, "sha256"), ("tokenizer.json", "git sha1")] {
        let content = set.hub.file(path);
        let mut other = content.clone();
        *other.last_mut().ok_or("empty")? ^= 1;
        let hash = if path == WEIGHTS { sha256 } else { git_sha1 };
        let at = if path == WEIGHTS {
            "?signed"
        } else {
            "resolve-cache/models/org/tiny/resolve/0123456789abcdef0123456789abcdef01234567/tokenizer.json"
        };
        set.hub.fault(at, Fault::Flip);
        let refused = set.teach(&dataset, "org/tiny", &[])?;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let (expected, found) = (hash(&content), hash(&other));
        assert_says(
            &refused.stderr,
            &[
                "teacher text",
                &format!("{path} of org/tiny has {kind} {found}, expected {expected}"),
                "is not kept",
                "hint: run the same",
            ],
        );
        let left: Vec<String> =
            tree_names(&set.path("hf"))?.into_keys().filter(|name| name.contains(&expected)).collect();
        assert!(left.iter().all(|name| name.ends_with(".lock")), "{left:?}");
    }
    assert_eq!(set.teach(&dataset, "org/tiny", &[])?.code, Some(0));
    Ok(())
}

#[test]
fn failures_in_passing_are_tried_again_and_not_for_ever() -> Result {
    let set = Set::new()?;
    for (at, fault) in [
        ("/api/models", Fault::Status(503, "Retry-After: 0")),
        ("/api/models", Fault::Status(429, "X-A: b")),
        ("/api/models", Fault::CutAfter(10)),
        ("/resolve/", Fault::Status(500, "X-A: b")),
        ("?signed", Fault::Status(502, "X-A: b")),
    ] {
        set.hub.fault(at, fault);
    }
    set.fetch("org/tiny")?;
    fs::remove_dir_all(set.repository())?;
    set.hub.asked();
    for _ in 0..9 {
        set.hub.fault("/api/models", Fault::Status(503, "X-Error-Message: too much"));
    }
    let said = set.fetch("org/tiny").err().ok_or("it was fetched")?.to_string();
    assert_says(&said, &["/api/models/org/tiny/revision/main", "HTTP 503: too much"]);
    assert_eq!(set.hub.asked().len(), 4);
    Ok(())
}

#[test]
fn who_refuses_is_named_with_what_to_do() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    let endpoint = set.hub.endpoint();
    for (id, variables, words) in [
        (
            "org/nothing",
            &[][..],
            &[
                "has no repository org/nothing",
                "HTTP 401: Invalid username",
                "hint: there is no folder org/nothing either",
                "HF_TOKEN",
            ][..],
        ),
        ("org/nothing", &[("HF_TOKEN", TOKEN)], &["has no repository org/nothing", "HTTP 404"]),
        ("org/tiny@v9", &[], &["org/tiny at ", "has no revision v9", "/org/tiny/commits/main"]),
        (
            "org/gated",
            &[],
            &[
                "refuses org/gated (HTTP 401: Access to model",
                "without a token",
                "accept its licence at",
                "set HF_TOKEN",
            ],
        ),
        (
            "org/gated",
            &[("HF_TOKEN", "hf_other")],
            &["refuses org/gated", "asked with a token", "of an account that may read it"],
        ),
    ] {
        let refused = set.teach(&dataset, id, variables)?;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert_says(&refused.stderr, words);
        assert_says(&refused.stderr, &["error: teacher text: ", &endpoint]);
        assert!(!refused.stderr.contains("hf_"), "{refused:?}");
    }
    // The token may be in its file.
    fs::write(set.path("hf/token"), TOKEN)?;
    assert_eq!(set.teach(&dataset, "org/gated", &[])?.code, Some(0));
    // A repository that was renamed is found under its old name.
    assert_eq!(set.fetch("org/old@v1")?.origin.map(|origin| origin.commit).as_deref(), Some(COMMIT));
    Ok(())
}

#[test]
fn a_hub_that_does_not_answer_is_named() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    // A port that was free a moment ago.
    let closed = format!("http://{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let refused = set.teach(&dataset, "org/tiny", &[("HF_ENDPOINT", &closed)])?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_says(&refused.stderr, &["no answer from ", &closed, "refused", "HF_ENDPOINT", "HF_HUB_OFFLINE=1"]);
    // One that takes the question and is silent.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", silent.local_addr()?);
    let settings = Settings { endpoint, patience: Duration::from_millis(200), pauses: Vec::new(), ..set.settings() };
    let error = set.fetch_with("org/tiny", &settings).err().ok_or("it was fetched")?;
    assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");
    let refused = set.teach(&dataset, "org/tiny", &[("HF_ENDPOINT", "huggingface.co")])?;
    assert_says(&refused.stderr, &["HF_ENDPOINT: \"huggingface.co\" is no http(s) address"]);
    Ok(())
}

#[test]
fn a_repository_of_pickles_is_refused_before_anything_is_fetched() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    set.hub.remove(WEIGHTS);
    set.hub.remove("expected.safetensors");
    let refused = set.teach(&dataset, "org/tiny", &[])?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_says(
        &refused.stderr,
        &[
            &format!("pytorch_model.bin of org/tiny at {COMMIT} is a pickle"),
            "expected safetensors",
            "save_pretrained('tiny-safetensors')",
        ],
    );
    assert_eq!(set.fetched(), []);
    Ok(())
}

#[test]
fn a_path_wins_and_what_is_neither_is_told_both_ways() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    copy_folder(&set.path("model"), &set.path("org/tiny"))?;
    assert_eq!(set.teach(&dataset, "org/tiny", &[])?.code, Some(0));
    assert_eq!(set.hub.asked(), []);
    for word in ["./models/clip", "a/b/c", "org/tiny@../x"] {
        let refused = set.teach(&dataset, word, &[])?;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert_says(
            &refused.stderr,
            &[
                &format!("there is no folder {word}"),
                "no id of a model on the hub",
                "hint: give a model folder",
                "org/name@revision",
            ],
        );
    }
    assert_eq!(set.hub.asked(), []);
    Ok(())
}

#[test]
fn a_full_disk_is_named_and_what_came_is_kept() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    let teach = set.teach_command(&dataset, "org/tiny");
    // SIGXFSZ would kill: ignored, the write fails instead. 100 blocks of 512 bytes.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""])
        .arg(teach.get_program())
        .args(teach.get_args());
    for (name, value) in teach.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let refused = ran(&mut limited)?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_says(&refused.stderr, &["cannot write", ".incomplete", "hint: make room and run the same command again"]);
    set.hub.asked();
    assert_eq!(set.teach(&dataset, "org/tiny", &[])?.code, Some(0));
    let from = set.fetched().into_iter().find(|(name, _)| name == WEIGHTS).and_then(|(_, range)| range);
    assert!(from.ok_or("it began anew")?.parse::<u64>()? > 0);
    Ok(())
}
