//! Models of the hub, against one on loopback: what is fetched, checked and kept; in `refusals`, what is not.

mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use retort_cache::{Dataset, Interrupt, Quiet, teachers_of};
use retort_schemas::Dtype;
use retort_teachers::Teacher;
use retort_teachers::hub::{Error, Found, HubId, Settings, fetch};
use serde_json::Value;
use tch::Device;
use tempfile::{TempDir, tempdir};

use crate::support::command::{Ran, VqaFiles, command, succeed, text};
use crate::support::hub::{COMMIT, Fault, Hub, TOKEN, git_sha1, sha256};
use crate::support::{Result, copy_folder, golden, tree_names};

const WEIGHTS: &str = "model.safetensors";
/// What a teacher needs of the model below, and what it does not.
const NEEDED: [&str; 7] = [
    "1_Pooling/config.json",
    "config.json",
    WEIGHTS,
    "modules.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A sentence-transformers model with a file or two that nobody needs.
fn model(folder: &Path) -> Result<PathBuf> {
    let model = folder.join("model");
    copy_folder(&golden("bert"), &model)?;
    fs::create_dir(model.join("1_Pooling"))?;
    fs::write(
        model.join("1_Pooling/config.json"),
        r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}"#,
    )?;
    fs::write(
        model.join("modules.json"),
        r#"[{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1_Pooling"}]"#,
    )?;
    fs::write(model.join("README.md"), "a model")?;
    fs::write(model.join("pytorch_model.bin"), "a pickle")?;
    Ok(model)
}

/// A hub with the model, and an empty cache.
struct Set {
    folder: TempDir,
    hub: Hub,
}

impl Set {
    fn new() -> Result<Self> {
        let folder = tempdir()?;
        let hub = Hub::start(&model(folder.path())?)?;
        Ok(Self { folder, hub })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of the repository in the cache.
    fn repository(&self) -> PathBuf {
        self.path("hf/hub/models--org--tiny")
    }

    fn settings(&self) -> Settings {
        Settings {
            cache: self.path("hf/hub"),
            endpoint: self.hub.endpoint(),
            token: None,
            offline: false,
            roots: None,
            patience: Duration::from_secs(10),
            pauses: vec![Duration::ZERO; 3],
        }
    }

    fn fetch_with(&self, id: &str, settings: &Settings) -> Result<Found, Error> {
        let id: HubId = id.parse().map_err(|problem| Error::Setting { name: "id", problem })?;
        fetch(&id, settings, &Quiet, &Interrupt::default())
    }

    fn fetch(&self, id: &str) -> Result<Found, Error> {
        self.fetch_with(id, &self.settings())
    }

    fn fetch_offline(&self, id: &str) -> Result<Found, Error> {
        self.fetch_with(id, &Settings { offline: true, ..self.settings() })
    }

    /// A data set of two shards.
    fn dataset(&self, name: &str) -> Result<PathBuf> {
        let dataset = self.path(name);
        let files = VqaFiles::write(&self.path("vqa"), 4)?;
        assert_eq!(files.ingest(&dataset, "train")?.code, Some(0));
        Ok(dataset)
    }

    /// `retort teach` of a model, not started.
    fn teach_command(&self, dataset: &Path, model: &str) -> Command {
        self.command(&["teach", text(dataset), "--teacher", &format!("text={model}")])
    }

    /// `retort` as it finds this hub, not started.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        for name in [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "SSL_CERT_FILE",
            "HF_HUB_OFFLINE",
        ] {
            command.env_remove(name).env_remove(name.to_ascii_uppercase());
        }
        command
            .env("HF_HOME", self.path("hf"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("RETORT_HUB_RETRY_MS", "1")
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "10")
            .current_dir(self.folder.path());
        command
    }

    fn teach(&self, dataset: &Path, model: &str, variables: &[(&str, &str)]) -> Result<Ran> {
        ran(self.teach_command(dataset, model).envs(variables.iter().copied()))
    }

    /// The resolve-questions, by path of the file and first byte.
    fn fetched(&self) -> Vec<(String, Option<String>)> {
        let asked = self.hub.asked().into_iter().filter(|asked| !asked.hub || asked.path.contains("resolve-cache"));
        let name =
            |path: String| path.split('?').next().map(|path| path.rsplit("resolve/").next().unwrap_or(path).to_owned());
        let name = |path: String| name(path).unwrap_or_default().replace(&format!("{COMMIT}/"), "");
        asked.map(|asked| (name(asked.path).trim_start_matches('/').to_owned(), asked.range)).collect()
    }
}

fn ran(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } = command.output()?;
    Ok(Ran { code: status.code(), stdout: String::from_utf8(stdout)?, stderr: String::from_utf8(stderr)? })
}

/// The only teacher's folder of a data set, and its manifest.
fn taught(dataset: &Path) -> Result<(String, Value)> {
    let folder = fs::read_dir(dataset.join("cache"))?.next().ok_or("no teacher")??;
    let manifest = serde_json::from_slice(&fs::read(folder.path().join("teacher.json"))?)?;
    Ok((folder.file_name().to_string_lossy().into_owned(), manifest))
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

#[test]
fn a_model_of_the_hub_is_fetched_and_teaches_as_its_folder_does() -> Result {
    let set = Set::new()?;
    let [from_hub, from_folder] = [set.dataset("one")?, set.dataset("two")?];
    let done = set.teach(&from_hub, "org/tiny", &[("HF_TOKEN", TOKEN)])?;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_says(
        &done.stderr,
        &[&format!("teacher text: org/tiny@main is commit {COMMIT}: 7 files from http://127.0.0.1")],
    );
    assert_says(&done.stderr, &["fetch org/tiny: ", " bytes"]);
    let asked = set.hub.asked();
    // The token is for the hub alone, wherever that points to.
    assert!(asked.iter().all(|asked| asked.token.is_some() == asked.hub), "{asked:?}");
    assert!(
        asked.iter().any(|asked| !asked.hub)
            && asked.iter().filter(|asked| asked.path.contains("/api/models/")).count() == 1
    );
    // Blobs are named by their hashes; the snapshot points to them from whatever depth.
    let repository = set.repository();
    let mut blobs = Vec::new();
    for path in NEEDED {
        let content = set.hub.file(path);
        let hash = if path == WEIGHTS { sha256(&content) } else { git_sha1(&content) };
        let up = if path.contains('/') { "../../.." } else { "../.." };
        let pointer = fs::read_link(repository.join("snapshots").join(COMMIT).join(path))?;
        assert_eq!(pointer, Path::new(up).join("blobs").join(&hash), "{path}");
        assert_eq!(fs::read(repository.join("blobs").join(&hash))?, content, "{path}");
        blobs.push(hash);
    }
    blobs.sort();
    assert_eq!(tree_names(&repository.join("blobs"))?.into_keys().collect::<Vec<_>>(), blobs);
    assert_eq!(fs::read_to_string(repository.join("refs/main"))?, COMMIT);
    // The numbers and the fingerprint are those of the same files in a folder; only where they come from differs.
    assert_eq!(set.teach(&from_folder, text(&set.path("model")), &[])?.code, Some(0));
    let (mut one, mut two) = (taught(&from_hub)?, taught(&from_folder)?);
    let origin = serde_json::json!({"repository": "org/tiny", "revision": "main", "commit": COMMIT});
    assert_eq!(one.1.get("origin"), Some(&origin));
    // A query is encoded by the same model, named in the same way.
    let sql = "SELECT count(*) AS n FROM nearest('text.texts', 'red', 2)";
    let mut query = set.command(&["sql", text(&from_hub), "--teacher", "text=org/tiny", "--format", "csv", "-c", sql]);
    assert_eq!(ran(query.env("HF_TOKEN", TOKEN))?.stdout, "n\n2\n");
    let refused = ran(query.env("HF_TOKEN", TOKEN).env("HF_ENDPOINT", "http://127.0.0.1:9"))?;
    assert_says(&refused.stderr, &["the model of teacher text@", "127.0.0.1:9", "hint: "]);
    // Copies and conversions keep it, and a copy of the same numbers from elsewhere is one.
    succeed(&["cache", "copy", text(&from_hub), "text", text(&from_folder)])?;
    assert_eq!(taught(&from_folder)?, two);
    succeed(&["convert", text(&from_hub), "--teacher", "text", "--store", "cos:0.99"])?;
    let dataset = Dataset::open(&from_hub)?;
    let origins = teachers_of(&dataset)?.into_iter().map(|teacher| teacher.manifest().origin.clone());
    let origins = origins.map(|origin| origin.map(|origin| origin.commit)).collect::<Vec<_>>();
    assert_eq!(origins, vec![Some(COMMIT.to_owned()); 2]);
    for manifest in [&mut one.1, &mut two.1] {
        manifest
            .as_object_mut()
            .ok_or("no object")?
            .retain(|key, _| !["origin", "folder", "xxh3"].contains(&key.as_str()));
    }
    assert_eq!(one, two);
    Ok(())
}

/// As others publish them: with a card, pickles, and timm's config and weights of the image tower alone.
#[test]
fn models_of_open_clip_and_openai_are_fetched_and_opened() -> Result {
    let timm = [("config.json", "{\"architecture\": \"vit_base_patch32\"}"), ("model.safetensors", "timm's")];
    let tokens = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
    let open_clip = [&["config.json", "open_clip_config.json", "open_clip_model.safetensors"][..], &tokens].concat();
    let openai = [&["model.safetensors"][..], &tokens].concat();
    for (name, extra, needed) in [("open-clip", &timm[..], open_clip), ("openai-clip", &[], openai)] {
        let folder = tempdir()?;
        let model = folder.path().join("model");
        copy_folder(&golden(name), &model)?;
        fs::remove_file(model.join("expected.safetensors"))?;
        for (file, text) in extra.iter().chain(&[("README.md", "a model"), ("open_clip_pytorch_model.bin", "a pickle")])
        {
            fs::write(model.join(file), text)?;
        }
        let set = Set { hub: Hub::start(&model)?, folder };
        let found = set.fetch("org/tiny")?;
        assert_eq!(tree_names(&found.folder)?.into_keys().collect::<Vec<_>>(), needed, "{name}");
        let [fetched, local] =
            [found.folder, golden(name)].map(|folder| Teacher::open(&folder, Device::Cpu, Dtype::F32));
        assert_eq!(fetched?.fingerprint(Dtype::F16), local?.fingerprint(Dtype::F16), "{name}");
    }
    Ok(())
}

#[test]
fn what_is_there_is_not_asked_for_again() -> Result {
    let set = Set::new()?;
    let first = set.fetch("org/tiny")?;
    set.hub.asked();
    let paths = |set: &Set| set.hub.asked().into_iter().map(|asked| asked.path).collect::<Vec<_>>();
    assert_eq!(set.fetch("org/tiny")?.folder, first.folder);
    assert_eq!(paths(&set), ["/api/models/org/tiny/revision/main?blobs=true"]);
    for (id, offline) in
        [(format!("org/tiny@{COMMIT}"), false), (format!("org/tiny@{COMMIT}"), true), ("org/tiny".to_owned(), true)]
    {
        let found = if offline { set.fetch_offline(&id)? } else { set.fetch(&id)? };
        assert_eq!(found.folder, first.folder);
        let revision = if id.contains('@') { COMMIT } else { "main" };
        assert_eq!(
            found.origin.map(|origin| (origin.revision, origin.commit)),
            Some((revision.to_owned(), COMMIT.to_owned()))
        );
        assert_eq!(paths(&set), [""; 0], "{id} {offline}");
    }
    // Another revision of the same commit has its own reference and no file of its own.
    set.fetch("org/tiny@refs/pr/1")?;
    assert_eq!(paths(&set), ["/api/models/org/tiny/revision/refs%2Fpr%2F1?blobs=true"]);
    assert_eq!(fs::read_to_string(set.repository().join("refs/refs/pr/1"))?, COMMIT);
    // A file that went missing is fetched again, and only that.
    fs::remove_file(set.repository().join("blobs").join(git_sha1(&set.hub.file("tokenizer.json"))))?;
    assert_says(
        &set.fetch_offline("org/tiny").err().ok_or("it was found")?.to_string(),
        &["no tokenizer.json of org/tiny@main"],
    );
    set.fetch(&format!("org/tiny@{COMMIT}"))?;
    assert_eq!(set.fetched(), [("tokenizer.json".to_owned(), None)]);
    Ok(())
}

#[test]
fn a_download_goes_on_where_it_stopped() -> Result {
    let set = Set::new()?;
    let weights = set.hub.file(WEIGHTS);
    let incomplete = set.repository().join("blobs").join(format!("{}.incomplete", sha256(&weights)));
    let range = |from: usize| (WEIGHTS.to_owned(), (from > 0).then(|| from.to_string()));
    // Without another try the cut is an error, and what came stays.
    set.hub.fault("?signed", Fault::CutAfter(30_000));
    let error =
        set.fetch_with("org/tiny", &Settings { pauses: Vec::new(), ..set.settings() }).err().ok_or("it was fetched")?;
    assert!(matches!(error, Error::BrokenOff { bytes: 30_000, .. }), "{error:?}");
    assert_eq!(fs::read(&incomplete)?, weights[..30_000]);
    // More cuts than tries, but each gets on.
    for _ in 0..5 {
        set.hub.fault("?signed", Fault::CutAfter(5_000));
    }
    set.hub.asked();
    set.fetch("org/tiny")?;
    let fetched = set.fetched().into_iter().filter(|(name, _)| name == WEIGHTS);
    assert_eq!(fetched.collect::<Vec<_>>(), [30_000, 35_000, 40_000, 45_000, 50_000, 55_000].map(range));
    assert!(!incomplete.exists());
    assert_eq!(fs::read(set.repository().join("snapshots").join(COMMIT).join(WEIGHTS))?, weights);
    Ok(())
}

#[test]
fn who_knows_no_ranges_and_what_was_damaged_begin_anew() -> Result {
    for damaged in [false, true] {
        let set = Set::new()?;
        let weights = set.hub.file(WEIGHTS);
        let blobs = set.repository().join("blobs");
        fs::create_dir_all(&blobs)?;
        let begun = if damaged { vec![0; 1_000] } else { weights[..1_000].to_vec() };
        fs::write(blobs.join(format!("{}.incomplete", sha256(&weights))), begun)?;
        if !damaged {
            set.hub.fault("?signed", Fault::NoRange);
        }
        set.fetch("org/tiny")?;
        assert_eq!(fs::read(blobs.join(sha256(&weights)))?, weights);
        let asked = set.fetched().into_iter().filter(|(name, _)| name == WEIGHTS).map(|(_, range)| range);
        let expected = if damaged { vec![Some("1000".to_owned()), None] } else { vec![Some("1000".to_owned())] };
        assert_eq!(asked.collect::<Vec<_>>(), expected);
    }
    Ok(())
}

#[test]
fn offline_the_cache_is_all_there_is() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    for (id, missing) in [("org/tiny", "revision main"), (&*format!("org/tiny@{COMMIT}"), COMMIT)] {
        let refused = set.teach(&dataset, id, &[("HF_HUB_OFFLINE", "1")])?;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let folder = set.repository();
        assert_says(
            &refused.stderr,
            &["offline, and the cache has no ", missing, text(&folder), "hint: run it once without HF_HUB_OFFLINE"],
        );
    }
    // What Python fetched is taken, with a word on what cannot be known.
    set.hub.cache_as_python(&set.path("hf/hub"), &NEEDED)?;
    let done = set.teach(&dataset, "org/tiny", &[("HF_HUB_OFFLINE", "1")])?;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_says(&done.stderr, &[&format!("is commit {COMMIT}: as the cache has it; offline nobody can tell")]);
    assert_eq!(set.hub.asked(), []);
    // Its blobs are named by their hashes, which are compared.
    let blob = set.repository().join("blobs").join(sha256(&set.hub.file(WEIGHTS)));
    fs::write(&blob, "something else")?;
    let refused = set.fetch_offline("org/tiny").err().ok_or("it was taken")?;
    assert!(matches!(refused, Error::Wrong { kept: true, .. }), "{refused:?}");
    // With the hub, what is damaged is fetched again.
    set.fetch("org/tiny")?;
    assert_eq!((fs::read(&blob)?, set.fetched()), (set.hub.file(WEIGHTS), vec![(WEIGHTS.to_owned(), None)]));
    Ok(())
}

#[test]
fn what_python_fetched_is_not_fetched_again() -> Result {
    let set = Set::new()?;
    // Python fetches what its model asks for: here all but one file.
    set.hub.cache_as_python(&set.path("hf/hub"), &NEEDED[1..])?;
    let before = tree_names(&set.repository().join("blobs"))?;
    set.fetch("org/tiny")?;
    assert_eq!(set.fetched(), [("1_Pooling/config.json".to_owned(), None)]);
    let mut after = tree_names(&set.repository().join("blobs"))?;
    after.retain(|name, _| before.contains_key(name));
    assert!(after == before);
    // Where nothing is to be fetched, nothing needs to be written.
    fs::remove_dir_all(set.repository().join("retort"))?;
    fs::write(set.repository().join("retort"), "in the way")?;
    set.fetch("org/tiny")?;
    assert_eq!(set.fetched(), []);
    Ok(())
}

#[test]
fn files_whose_hashes_are_not_listed_are_asked_for_them() -> Result {
    let set = Set::new()?;
    set.hub.list_names_alone();
    set.hub.fault("?signed", Fault::Flip);
    let error = set.fetch("org/tiny").err().ok_or("it was fetched")?;
    assert!(matches!(error, Error::Wrong { kept: false, .. }), "{error:?}");
    set.fetch("org/tiny")?;
    let asked = set.hub.asked();
    assert!(asked.iter().filter(|asked| asked.method == "HEAD").all(|asked| asked.hub));
    assert_eq!(fs::read(set.repository().join("blobs").join(sha256(&set.hub.file(WEIGHTS))))?, set.hub.file(WEIGHTS));
    Ok(())
}

#[test]
fn an_interrupted_download_goes_on_in_the_next_run() -> Result {
    let set = Set::new()?;
    let dataset = set.dataset("set")?;
    let weights = set.hub.file(WEIGHTS);
    let incomplete = set.repository().join("blobs").join(format!("{}.incomplete", sha256(&weights)));
    set.hub.fault("?signed", Fault::StallAfter(40_000));
    let mut command = set.teach_command(&dataset, "org/tiny");
    let child = command.env("HF_HUB_DOWNLOAD_TIMEOUT", "1").stderr(std::process::Stdio::piped()).spawn()?;
    while fs::metadata(&incomplete).map_or(0, |found| found.len()) < 40_000 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_says(&said, &["hint: run the same command again to continue"]);
    assert_eq!(fs::read(&incomplete)?, weights[..40_000]);
    set.hub.asked();
    assert_eq!(set.teach(&dataset, "org/tiny", &[])?.code, Some(0));
    assert!(set.fetched().contains(&(WEIGHTS.to_owned(), Some("40000".to_owned()))));
    Ok(())
}
