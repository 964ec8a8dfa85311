//! What `torch.save` writes: a ZIP archive since PyTorch 1.6, pickles followed by bytes before.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use crate::file::{Complaint, Contents};
use crate::layout::{Layout, byte_length, extent, is_contiguous};
use crate::pickle::{self, Node, Pickle, Value};
use crate::pickle_names::Global;
use crate::{Dtype, Info};

/// What every legacy file begins with: PROTO 2, LONG1 of ten bytes, the magic number, STOP.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Containers inside containers, at most.
const DEEPEST: usize = 64;
/// Length of all names, values and shapes together, at most; what is shared would otherwise multiply.
const LONGEST_NAMES: usize = 64 << 20;
/// Bytes of a tensor that repeats few elements by strides of 0, at most (or the file's length, if that is more).
const LARGEST_REPEATED: usize = 16 << 20;

fn damaged(found: impl Into<String>) -> Complaint {
    Complaint::Damaged(found.into())
}

pub(crate) fn is_legacy(map: &[u8]) -> bool {
    // the protocol of the pickles can be chosen; the magic number cannot
    let Some(&[0x80, _]) = map.get(..2) else {
        return false;
    };
    map[2..].starts_with(&LEGACY[2..])
        || (map.get(2) == Some(&0x95) && map.get(11..).is_some_and(|r| r.starts_with(&LEGACY[2..])))
}

pub(crate) fn read_zip(map: &[u8]) -> Result<Contents, Complaint> {
    let broken = |error: zip::result::ZipError| damaged(format!("ZIP archive: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(map)).map_err(broken)?;
    let mut records = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?;
        // everything lies in one folder, named after the file
        let Some((_, name)) = name.split_once('/') else {
            continue;
        };
        let name = name.to_owned();
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
        {
            return Err(Complaint::Content {
                found: format!("compressed entry {name}"),
                expected: "stored ones, as PyTorch writes them".to_owned(),
            });
        }
        let range = entry.data_start().and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
            (end <= map.len()).then_some((start, end))
        });
        let range = range.ok_or_else(|| damaged(format!("entry {name} reaches beyond the end")))?;
        records.insert(name, range);
    }
    if let Some(&(start, end)) = records.get("byteorder")
        && &map[start..end] != b"little"
    {
        return Err(big_endian());
    }
    let &(start, end) = records.get("data.pkl").ok_or_else(|| Complaint::Content {
        found: "a ZIP archive without data.pkl".to_owned(),
        expected: "one that torch.save wrote (not TorchScript, not a folder of files)".to_owned(),
    })?;
    let pickle = pickle::read(&map[start..end])?;
    flatten(&pickle, map.len(), |key, _| {
        records.get(&format!("data/{key}")).copied()
    })
}

pub(crate) fn read_legacy(map: &[u8]) -> Result<Contents, Complaint> {
    let mut place = 0;
    let mut next = || -> Result<(Pickle, usize), Complaint> {
        let pickle = pickle::read(&map[place..])?;
        place += pickle.length;
        Ok((pickle, place))
    };
    let _magic = next()?;
    let _protocol = next()?;
    let (system, _) = next()?;
    if system.get(system.root, "little_endian") == Some(Value::Bool(false)) {
        return Err(big_endian());
    }
    let (pickle, _) = next()?;
    let (keys, mut place) = next()?;

    let mut widths = HashMap::new();
    for node in &pickle.nodes {
        if let Node::Storage { dtype, key, .. } = node {
            widths.insert(key.as_str(), dtype.width());
        }
    }
    // the storages' bytes follow in the order of the keys, each after its number of elements
    let mut ranges = HashMap::new();
    let listed = match keys.root {
        Value::Node(position) => match &keys.nodes[position] {
            Node::Sequence(values) => values.as_slice(),
            _ => return Err(damaged("no list of storages")),
        },
        _ => return Err(damaged("no list of storages")),
    };
    for &key in listed {
        let key = keys
            .text(key)
            .ok_or_else(|| damaged("a storage without name"))?;
        let width = widths
            .get(key)
            .ok_or_else(|| damaged(format!("storage {key} belongs to no tensor")))?;
        let cut = || damaged(format!("storage {key} is cut off"));
        let count = map.get(place..).and_then(|rest| rest.first_chunk::<8>());
        let elements = usize::try_from(u64::from_le_bytes(*count.ok_or_else(cut)?));
        let start = place + 8;
        let end = elements
            .ok()
            .and_then(|elements| elements.checked_mul(*width)?.checked_add(start))
            .filter(|&end| end <= map.len())
            .ok_or_else(cut)?;
        ranges.insert(key.to_owned(), (start, end));
        place = end;
    }
    flatten(&pickle, map.len(), |key, _| ranges.get(key).copied())
}

fn big_endian() -> Complaint {
    Complaint::Content {
        found: "a big-endian file".to_owned(),
        expected: "little-endian numbers: load and save it again on a common machine".to_owned(),
    }
}

/// Names everything below the root. `find` gives the bytes of a storage.
fn flatten(
    pickle: &Pickle,
    file_length: usize,
    find: impl Fn(&str, Dtype) -> Option<(usize, usize)>,
) -> Result<Contents, Complaint> {
    let mut contents = Contents::default();
    let mut left = LONGEST_NAMES;
    let mut open = vec![(String::new(), pickle.root, 0_usize)];
    while let Some((name, value, depth)) = open.pop() {
        let mut below = |part: &str| {
            let name = match name.as_str() {
                "" => part.to_owned(),
                name => format!("{name}/{part}"),
            };
            if depth == DEEPEST {
                return Err(damaged(format!("values nested more than {DEEPEST} deep")));
            }
            charge(&mut left, name.len() + 64)?;
            Ok(name)
        };
        let plain = match value {
            Value::None => "None".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Global(Global::Dtype(name) | Global::Type(name) | Global::Inert(name)) => {
                name.to_owned()
            }
            Value::Global(global) => format!("{global:?}"),
            Value::Node(position) => match &pickle.nodes[position] {
                Node::Text(text) => {
                    charge(&mut left, text.len())?;
                    text.clone()
                }
                Node::Bytes(bytes) => format!("{} bytes", bytes.len()),
                Node::Sequence(values) => {
                    for (index, &value) in values.iter().enumerate() {
                        open.push((below(&index.to_string())?, value, depth + 1));
                    }
                    continue;
                }
                Node::Dict { class, items } => {
                    if let Some(class) = class {
                        contents.values.insert(below("class")?, (*class).to_owned());
                    }
                    for &(key, value) in items {
                        open.push((below(key_text(pickle, key).as_ref())?, value, depth + 1));
                    }
                    continue;
                }
                Node::Storage { .. } => "storage".to_owned(),
                Node::Tensor {
                    storage,
                    offset,
                    shape,
                    strides,
                } => {
                    let Node::Storage {
                        dtype,
                        key,
                        elements,
                    } = &pickle.nodes[*storage]
                    else {
                        return Err(damaged(format!("tensor {name} has no storage")));
                    };
                    let range = find(key, *dtype).ok_or_else(|| {
                        damaged(format!(
                            "the bytes of tensor {name} (storage {key}) are missing"
                        ))
                    })?;
                    charge(
                        &mut left,
                        (shape.len() + strides.len()) * size_of::<usize>(),
                    )?;
                    let layout = place(*dtype, range, *elements, *offset, shape, strides, file_length)
                        .ok_or_else(|| {
                            damaged(format!(
                                "tensor {name} of shape {shape:?}, strides {strides:?} from element {offset} reaches beyond its \
                                 storage of {elements}"
                            ))
                        })?;
                    let info = Info {
                        dtype: *dtype,
                        shape: shape.clone(),
                    };
                    if contents
                        .tensors
                        .insert(name.clone(), (info, layout))
                        .is_some()
                    {
                        return Err(damaged(format!("two tensors are named {name}")));
                    }
                    continue;
                }
            },
        };
        contents.values.insert(name, plain);
    }
    Ok(contents)
}

/// Takes from what names and values may still have.
fn charge(left: &mut usize, bytes: usize) -> Result<(), Complaint> {
    *left = left.saturating_sub(bytes);
    match *left {
        0 => Err(damaged(
            "too many names and values, or some repeated without end",
        )),
        _ => Ok(()),
    }
}

fn key_text(pickle: &Pickle, key: Value) -> Cow<'_, str> {
    match key {
        Value::Node(_) => pickle.text(key).unwrap_or("(…)").into(),
        Value::Int(number) => number.to_string().into(),
        Value::Float(number) => format!("{number:?}").into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::None | Value::Global(_) => "None".into(),
    }
}

/// Where a tensor lies; none when it does not fit into its storage, or that into the file.
fn place(
    dtype: Dtype,
    (start, end): (usize, usize),
    elements: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
    file_length: usize,
) -> Option<Layout> {
    let width = dtype.width();
    let length = byte_length(shape, width)?;
    if elements.checked_mul(width)? > end - start
        || length > file_length.max(LARGEST_REPEATED)
        || offset.checked_add(extent(shape, strides)?)? > elements
    {
        return None;
    }
    Some(Layout {
        start: start + offset * width,
        strides: (!is_contiguous(shape, strides)).then(|| strides.to_vec()),
    })
}
