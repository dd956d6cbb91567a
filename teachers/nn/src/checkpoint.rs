//! Weights on disk: safetensors, whole or sharded, in the Hugging Face layout. Pickles are refused.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use crate::{Convert, Error, Result};

/// The weights of a model in one file.
pub const SINGLE: &str = "model.safetensors";
/// What names the files of weights in several.
pub const INDEX: &str = "model.safetensors.index.json";
const PICKLE_ENDINGS: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// The tensors of a model folder, or of one safetensors file.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<Mmap>,
    /// Tensor name to index of its file.
    names: BTreeMap<String, usize>,
    hash: String,
}

/// blake3 of a file's bytes, 32 hex digits.
///
/// # Errors
/// [`Error::Io`].
pub fn file_hash(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    Ok(blake3::hash(&bytes).to_hex()[..32].to_owned())
}

/// A pickle of a folder, if it has any; or what is given, if that is one.
pub fn pickle_in(folder: &Path) -> Option<PathBuf> {
    let paths = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths = paths.chain(folder.is_file().then(|| folder.to_owned()));
    paths.find(|path| {
        path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| PICKLE_ENDINGS.contains(&ending))
    })
}

/// The bytes of a file, which the system reads when they are looked at and lets go of when it needs the memory.
fn mapped(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    // A copy would hold every model twice in memory while it is opened, and as long as the checkpoint lives. The bytes of a map
    // are the file's: who cuts it short meanwhile ends this process, who writes into it changes weights. Models are files
    // that are replaced, not changed, by the hub's client, by us and by safetensors' own readers, which map them too.
    #[expect(
        unsafe_code,
        reason = "private memory of `retort teach` with a CLIP image tower of 350 MB: 395 MiB mapped, 731 MiB copied"
    )]
    let map = unsafe { Mmap::map(&file) };
    map.map_err(Error::io("map", path))
}

impl Checkpoint {
    /// Opens the weights of a model folder: `model.safetensors`, or the shards of its index.
    ///
    /// # Errors
    /// [`Error::NoWeights`]; [`Error::Pickle`] if there are only pickles; [`Error::Malformed`].
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join(SINGLE);
        let index = folder.join(INDEX);
        if single.is_file() {
            return Self::open_files(&single, std::slice::from_ref(&single));
        }
        if index.is_file() {
            let text = std::fs::read_to_string(&index).map_err(Error::io("read", &index))?;
            let malformed = |problem: String| Error::Malformed { path: index.clone(), problem };
            let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
            let map = json.get("weight_map").and_then(serde_json::Value::as_object);
            let map = map.ok_or_else(|| malformed("it has no weight_map".to_owned()))?;
            return Self::open_parts(folder, &index, map);
        }
        Err(match pickle_in(folder) {
            Some(path) => Error::Pickle { path, convert: Convert::Transformers },
            None => Error::NoWeights { folder: folder.to_owned() },
        })
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn open_file(path: &Path) -> Result<Self> {
        Self::open_files(path, &[path.to_owned()])
    }

    /// Opens the files that an index names for its tensors, in the order of their names.
    fn open_parts(folder: &Path, index: &Path, map: &serde_json::Map<String, serde_json::Value>) -> Result<Self> {
        let malformed = |problem: String| Error::Malformed { path: index.to_owned(), problem };
        let mut files = Vec::new();
        for (tensor, part) in map {
            let part = part.as_str().ok_or_else(|| malformed(format!("the file of {tensor} is {part}, no name")))?;
            files.push(folder.join(part));
        }
        files.sort();
        files.dedup();
        if let Some(part) = files.iter().find(|file| !file.is_file()) {
            return Err(Error::MissingPart { index: index.to_owned(), part: part.clone(), parts: files.len() });
        }
        let opened = Self::open_files(index, &files)?;
        let absent = map.keys().find(|tensor| !opened.has(tensor));
        match absent.map(|tensor| (tensor, map.get(tensor).and_then(serde_json::Value::as_str).unwrap_or_default())) {
            Some((tensor, part)) => Err(malformed(format!("{tensor} is to be in {part}, and is not"))),
            None => Ok(opened),
        }
    }

    fn open_files(path: &Path, files: &[PathBuf]) -> Result<Self> {
        let mut opened = Self { path: path.to_owned(), files: Vec::new(), names: BTreeMap::new(), hash: String::new() };
        let mut hasher = blake3::Hasher::new();
        for (index, file) in files.iter().enumerate() {
            let bytes = mapped(file)?;
            hasher.update(&bytes);
            let (_, metadata) = SafeTensors::read_metadata(&bytes)
                .map_err(|error| Error::Malformed { path: file.clone(), problem: error.to_string() })?;
            opened.names.extend(metadata.tensors().into_keys().map(|name| (name, index)));
            opened.files.push(bytes);
        }
        opened.hash = hasher.finalize().to_hex()[..32].to_owned();
        Ok(opened)
    }

    /// blake3 of the weight files in order, 32 hex digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The words that were saved beside the tensors, of the first file.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn metadata(&self) -> Result<HashMap<String, String>> {
        let malformed = |problem: String| Error::Malformed { path: self.path.clone(), problem };
        let first = self.files.first().map(|bytes| &**bytes).unwrap_or_default();
        let (_, metadata) = SafeTensors::read_metadata(first).map_err(|error| malformed(error.to_string()))?;
        Ok(metadata.metadata().clone().unwrap_or_default())
    }

    /// A tensor by name, on the CPU, of its stored kind.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Malformed`] for a kind that no model of ours uses.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let missing = || Error::MissingTensor { path: self.path.clone(), name: name.to_owned(), expected: Vec::new() };
        let malformed = |problem: String| Error::Malformed { path: self.path.clone(), problem };
        let file = self.names.get(name).and_then(|index| self.files.get(*index)).ok_or_else(missing)?;
        let tensors = SafeTensors::deserialize(file).map_err(|error| malformed(error.to_string()))?;
        let view = tensors.tensor(name).map_err(|error| malformed(error.to_string()))?;
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            Dtype::I32 => Kind::Int,
            Dtype::U8 => Kind::Uint8,
            other => return Err(malformed(format!("tensor {name} is of type {other:?}"))),
        };
        let shape: Vec<i64> = view.shape().iter().map(|n| *n as i64).collect();
        Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
    }
}

/// Encodes named tensors as safetensors, with one key of metadata: the format orders tensors but not keys, and equal
/// tensors are to give equal bytes.
///
/// # Errors
/// [`Error::Torch`]; [`Error::Malformed`] for a kind that cannot be saved.
pub fn save(tensors: &BTreeMap<String, Tensor>, key: &str, value: &str) -> Result<Vec<u8>> {
    let malformed = |problem: String| Error::Malformed { path: PathBuf::from("safetensors"), problem };
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let kind = tensor.kind();
        let (dtype, bytes) = match kind {
            Kind::Float => (Dtype::F32, 4),
            Kind::Int64 => (Dtype::I64, 8),
            Kind::Double => (Dtype::F64, 8),
            Kind::Half => (Dtype::F16, 2),
            Kind::BFloat16 => (Dtype::BF16, 2),
            other => return Err(malformed(format!("{name} is of kind {other:?}"))),
        };
        let count = tensor.numel();
        let mut buffer = vec![0_u8; count * bytes];
        tensor.f_detach()?.f_to(Device::Cpu)?.f_contiguous()?.f_copy_data_u8(&mut buffer, count)?;
        data.push((name.clone(), dtype, tensor.size().iter().map(|n| *n as usize).collect::<Vec<_>>(), buffer));
    }
    let views = data
        .iter()
        .map(|(name, dtype, shape, buffer)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), buffer)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| malformed(error.to_string()))?;
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, tensor: &str) -> Result<()> {
        let tensors = BTreeMap::from([(tensor.to_owned(), Tensor::f_from_slice(&[1_f32, 2.0])?)]);
        let path = folder.join(file);
        std::fs::write(&path, save(&tensors, "format", "pt")?).map_err(Error::io("write", &path))
    }

    #[test]
    fn a_model_in_parts_needs_each_of_them() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
        std::fs::write(folder.join(INDEX), index).unwrap();
        write(folder, "model-1.safetensors", "a")?;
        let said = Checkpoint::open(folder).unwrap_err();
        assert!(matches!(&said, Error::MissingPart { parts: 2, part, .. } if part.ends_with("model-2.safetensors")));
        assert!(said.hint().is_some());
        write(folder, "model-2.safetensors", "c")?;
        let said = Checkpoint::open(folder).unwrap_err().to_string();
        assert!(said.contains("b is to be in model-2.safetensors, and is not"), "{said}");
        write(folder, "model-2.safetensors", "b")?;
        let opened = Checkpoint::open(folder)?;
        assert_eq!(opened.names().collect::<Vec<_>>(), ["a", "b"]);
        std::fs::write(folder.join(INDEX), r#"{"weight_map": {"a": 1}}"#).unwrap();
        assert!(matches!(Checkpoint::open(folder), Err(Error::Malformed { .. })));
        Ok(())
    }
}
