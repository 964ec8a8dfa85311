//! A pickle machine that builds descriptions and runs nothing: protocols 0 to 5 as far as plain data needs them.
//!
//! Values lie in one arena and refer to each other by position, so that neither depth nor cycles of a hostile file cost more
//! than its own length in memory, and dropping them takes no recursion.

use std::collections::HashMap;

use crate::Dtype;
use crate::file::Complaint;
use crate::pickle_names::{self, Global};

/// Longest pickle that is read: the largest real ones hold some thousand names.
const LONGEST: usize = 64 << 20;
/// What may be copied from one value into another, in bytes: copies could otherwise be had for a few bytes of the file each.
const COPIES: usize = 16 << 20;

/// A value that fits into a word or two, or the position of one that does not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Global(Global),
    Node(usize),
}

/// A value with parts.
#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Bytes(Vec<u8>),
    /// A list, tuple or set.
    Sequence(Vec<Value>),
    /// A dict, or a bag of values with the name of the class that it stands for.
    Dict {
        class: Option<&'static str>,
        items: Vec<(Value, Value)>,
    },
    Storage {
        dtype: Dtype,
        key: String,
        elements: usize,
    },
    Tensor {
        /// Position of the storage among the nodes.
        storage: usize,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
}

/// What one pickle describes.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Value,
    /// Bytes that it took.
    pub(crate) length: usize,
}

impl Pickle {
    /// The text that a value is.
    pub(crate) fn text(&self, value: Value) -> Option<&str> {
        text(&self.nodes, value)
    }

    /// The value of a dict's entry.
    pub(crate) fn get(&self, dict: Value, key: &str) -> Option<Value> {
        let Value::Node(position) = dict else {
            return None;
        };
        let Node::Dict { items, .. } = &self.nodes[position] else {
            return None;
        };
        let found = items.iter().find(|(name, _)| self.text(*name) == Some(key));
        found.map(|(_, value)| *value)
    }
}

fn text(nodes: &[Node], value: Value) -> Option<&str> {
    match value {
        Value::Node(position) => match &nodes[position] {
            Node::Text(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Reads the pickle at the start of `data`.
pub(crate) fn read(data: &[u8]) -> Result<Pickle, Complaint> {
    let mut machine = Machine {
        data: &data[..data.len().min(LONGEST)],
        place: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes: Vec::new(),
        copies: COPIES,
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Pickle {
        nodes: machine.nodes,
        root,
        length: machine.place,
    })
}

struct Machine<'a> {
    data: &'a [u8],
    place: usize,
    stack: Vec<Value>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    nodes: Vec<Node>,
    /// How much may still be copied, in bytes.
    copies: usize,
}

fn damaged(found: impl Into<String>) -> Complaint {
    Complaint::Damaged(found.into())
}

impl<'a> Machine<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Complaint> {
        let end = self.place.checked_add(length);
        let bytes = end.and_then(|end| self.data.get(self.place..end));
        let bytes = bytes.ok_or_else(|| damaged("its pickle ends early"))?;
        self.place += length;
        Ok(bytes)
    }

    /// A little-endian number of `width` bytes, at most 8.
    fn number(&mut self, width: usize) -> Result<u64, Complaint> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// Bytes after a length of `width` bytes.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], Complaint> {
        let length = self.number(width)?;
        self.take(usize::try_from(length).map_err(|_| damaged("its pickle ends early"))?)
    }

    fn line(&mut self) -> Result<&'a str, Complaint> {
        let rest = &self.data[self.place..];
        let length = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or_else(|| damaged("its pickle ends early"))?;
        self.place += length + 1;
        utf8(&rest[..length])
    }

    fn pop(&mut self) -> Result<Value, Complaint> {
        // what lies below an open mark is not there to be taken
        if self
            .marks
            .last()
            .is_some_and(|&mark| self.stack.len() <= mark)
        {
            return Err(damaged("its pickle takes from an empty stack"));
        }
        let value = self.stack.pop();
        value.ok_or_else(|| damaged("its pickle takes from an empty stack"))
    }

    fn top(&mut self) -> Result<Value, Complaint> {
        let value = self.pop()?;
        self.stack.push(value);
        Ok(value)
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, Complaint> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| damaged("its pickle has no mark where it needs one"))?;
        Ok(self.stack.split_off(mark))
    }

    fn make(&mut self, node: Node) {
        self.stack.push(Value::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    fn make_text(&mut self, bytes: &[u8]) -> Result<(), Complaint> {
        let text = utf8(bytes)?.to_owned();
        self.make(Node::Text(text));
        Ok(())
    }

    fn make_dict(&mut self, values: &[Value]) -> Result<(), Complaint> {
        let items = pairs(values)?;
        self.make(Node::Dict { class: None, items });
        Ok(())
    }

    /// Pops so many values into a sequence.
    fn gather(&mut self, count: usize) -> Result<(), Complaint> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.pop()?);
        }
        values.reverse();
        self.make(Node::Sequence(values));
        Ok(())
    }

    fn set_items(&mut self, values: &[Value]) -> Result<(), Complaint> {
        let new = pairs(values)?;
        match self.top()? {
            Value::Node(position) => match &mut self.nodes[position] {
                Node::Dict { items, .. } => items.extend(new),
                _ => return Err(damaged("its pickle sets items of what is no dict")),
            },
            _ => return Err(damaged("its pickle sets items of what is no dict")),
        }
        Ok(())
    }

    fn extend(&mut self, values: &[Value]) -> Result<(), Complaint> {
        match self.top()? {
            Value::Node(position) => match &mut self.nodes[position] {
                Node::Sequence(items) => items.extend(values),
                // a list with a class of its own
                Node::Dict {
                    class: Some(_),
                    items,
                } => {
                    for value in values {
                        items.push((Value::Int(items.len() as i128), *value));
                    }
                }
                _ => return Err(damaged("its pickle appends to what is no list")),
            },
            _ => return Err(damaged("its pickle appends to what is no list")),
        }
        Ok(())
    }

    fn get(&mut self, key: u64) -> Result<(), Complaint> {
        let value = self.memo.get(&key);
        let value = *value.ok_or_else(|| damaged(format!("its pickle has no value {key}")))?;
        self.stack.push(value);
        Ok(())
    }

    fn put(&mut self, key: u64) -> Result<(), Complaint> {
        let value = self.top()?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Complaint> {
        let full_name = format!("{module}.{name}");
        let global = pickle_names::find(&full_name).ok_or(Complaint::Refused(full_name))?;
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// One instruction; false after the last.
    fn step(&mut self) -> Result<bool, Complaint> {
        let code = self.take(1)?[0];
        match code {
            // frames and marks
            0x80 => {
                let protocol = self.number(1)?;
                if protocol > 5 {
                    return Err(damaged(format!(
                        "pickle protocol {protocol}, known are 0 to 5"
                    )));
                }
            }
            0x95 => {
                let _ = self.number(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'.' => return Ok(false),
            b'0' => {
                // the mark itself counts as an entry of the stack
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let value = self.top()?;
                self.stack.push(value);
            }
            // plain values
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' => {
                let bits = self.number(4)? as u32;
                self.stack.push(Value::Int(i128::from(bits.cast_signed())));
            }
            b'K' => {
                let value = self.number(1)?;
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = self.number(2)?;
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => {
                let bytes = self.counted(1)?;
                self.stack.push(Value::Int(long(bytes)?));
            }
            0x8b => {
                let bytes = self.counted(4)?;
                self.stack.push(Value::Int(long(bytes)?));
            }
            b'I' | b'L' => {
                let line = self.line()?;
                let value = match (code, line) {
                    (b'I', "00") => Value::Bool(false),
                    (b'I', "01") => Value::Bool(true),
                    _ => Value::Int(parsed(line.trim_end_matches('L'))?),
                };
                self.stack.push(value);
            }
            b'F' => {
                let value = parsed(self.line()?)?;
                self.stack.push(Value::Float(value));
            }
            b'G' => {
                let bits = self.number(8)?.swap_bytes();
                self.stack.push(Value::Float(f64::from_bits(bits)));
            }
            0x8c | b'X' | 0x8d => {
                let width = [1, 4, 8][usize::from(code == b'X') + 2 * usize::from(code == 0x8d)];
                let bytes = self.counted(width)?;
                self.make_text(bytes)?;
            }
            // protocol 0; escapes stay as they are written
            b'V' | b'S' => {
                let line = self.line()?;
                let line = line.trim_matches(if code == b'S' { &['\'', '"'][..] } else { &[] });
                self.make(Node::Text(line.to_owned()));
            }
            // Python 2's strings: text where they are text
            b'U' | b'T' => {
                let bytes = self.counted(if code == b'U' { 1 } else { 4 })?;
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.make(Node::Text(text.to_owned())),
                    Err(_) => self.make(Node::Bytes(bytes.to_vec())),
                }
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                let width = match code {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                };
                let bytes = self.counted(width)?.to_vec();
                self.make(Node::Bytes(bytes));
            }
            // containers
            b']' | b')' | 0x8f => self.make(Node::Sequence(Vec::new())),
            b'}' => self.make_dict(&[])?,
            b'l' | b't' | 0x91 => {
                let values = self.pop_mark()?;
                self.make(Node::Sequence(values));
            }
            0x85 => self.gather(1)?,
            0x86 => self.gather(2)?,
            0x87 => self.gather(3)?,
            b'd' => {
                let values = self.pop_mark()?;
                self.make_dict(&values)?;
            }
            b'a' => {
                let value = self.pop()?;
                self.extend(&[value])?;
            }
            b'e' | 0x90 => {
                let values = self.pop_mark()?;
                self.extend(&values)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let values = self.pop_mark()?;
                self.set_items(&values)?;
            }
            // the memo
            b'g' => {
                let key = parsed(self.line()?)?;
                self.get(key)?;
            }
            b'h' => {
                let key = self.number(1)?;
                self.get(key)?;
            }
            b'j' => {
                let key = self.number(4)?;
                self.get(key)?;
            }
            b'p' => {
                let key = parsed(self.line()?)?;
                self.put(key)?;
            }
            b'q' => {
                let key = self.number(1)?;
                self.put(key)?;
            }
            b'r' => {
                let key = self.number(4)?;
                self.put(key)?;
            }
            0x94 => self.put(self.memo.len() as u64)?,
            // names and what is done with them
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let both = text(&self.nodes, module).zip(text(&self.nodes, name));
                let (module, name) = both.ok_or_else(|| damaged("a name that is no text"))?;
                let (module, name) = (module.to_owned(), name.to_owned());
                self.global(&module, &name)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(Complaint::Refused(format!("{module}.{name}")));
            }
            b'o' => return Err(Complaint::Refused("a class (opcode OBJ)".to_owned())),
            0x82..=0x84 => {
                return Err(Complaint::Refused(
                    "an entry of Python's extension registry".into(),
                ));
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.call(callee, arguments)?;
            }
            0x92 => {
                let (_, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callee, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)?;
            }
            _ => {
                return Err(damaged(format!(
                    "no instruction of plain data: {code:#04x} at byte {} of its pickle",
                    self.place - 1
                )));
            }
        }
        Ok(true)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Complaint> {
        let left = self.copies.checked_sub(bytes);
        self.copies = left.ok_or_else(|| damaged("its pickle repeats values without end"))?;
        Ok(())
    }

    fn sequence(&self, value: Value) -> Result<&[Value], Complaint> {
        if let Value::Node(position) = value
            && let Node::Sequence(values) = &self.nodes[position]
        {
            return Ok(values);
        }
        Err(damaged(
            "its pickle has another value where a tuple belongs",
        ))
    }

    fn sizes(&mut self, value: Value) -> Result<Vec<usize>, Complaint> {
        self.spend(size_of_val(self.sequence(value)?))?;
        self.sequence(value)?.iter().map(|v| size(*v)).collect()
    }

    /// What calling a permitted name would give, described.
    fn call(&mut self, callee: Value, arguments: Value) -> Result<(), Complaint> {
        let Value::Global(global) = callee else {
            return Err(Complaint::Refused("a value of its own".to_owned()));
        };
        self.spend(size_of_val(self.sequence(arguments)?))?;
        let arguments = self.sequence(arguments)?.to_vec();
        let first = arguments.first().copied();
        match global {
            Global::RebuildTensor => {
                let [Value::Node(storage), offset, shape, strides, ..] = arguments[..] else {
                    return Err(damaged("a tensor without storage, shape and strides"));
                };
                let (offset, shape, strides) =
                    (size(offset)?, self.sizes(shape)?, self.sizes(strides)?);
                if !matches!(self.nodes[storage], Node::Storage { .. })
                    || shape.len() != strides.len()
                {
                    return Err(damaged("a tensor whose parts do not belong together"));
                }
                self.make(Node::Tensor {
                    storage,
                    offset,
                    shape,
                    strides,
                });
            }
            Global::RebuildParameter => match first {
                Some(Value::Node(tensor)) if matches!(self.nodes[tensor], Node::Tensor { .. }) => {
                    self.stack.push(Value::Node(tensor));
                }
                _ => return Err(damaged("a parameter that is no tensor")),
            },
            Global::Dict => {
                let mut values = Vec::new();
                if let Some(items) = first {
                    for &pair in self.sequence(items)? {
                        values.extend_from_slice(self.sequence(pair)?);
                        if size_of_val(values.as_slice()) > self.copies {
                            break;
                        }
                    }
                }
                self.spend(size_of_val(values.as_slice()))?;
                self.make_dict(&values)?;
            }
            Global::DefaultDict => self.make_dict(&[])?,
            Global::Same => match first {
                Some(value) => self.stack.push(value),
                None => self.make(Node::Sequence(Vec::new())),
            },
            Global::Encode => {
                // text in which every character is one byte
                let text = first.and_then(|value| text(&self.nodes, value));
                let bytes: Option<Vec<u8>> =
                    text.and_then(|text| text.chars().map(|c| u8::try_from(c).ok()).collect());
                let bytes = bytes.ok_or_else(|| damaged("bytes written as other text"))?;
                self.spend(bytes.len())?;
                self.make(Node::Bytes(bytes));
            }
            Global::Inert(class) => {
                let positions = (0..).map(Value::Int);
                let items = positions.zip(arguments.iter().copied()).collect();
                self.make(Node::Dict {
                    class: Some(class),
                    items,
                });
            }
            Global::Storage(_) | Global::Dtype(_) | Global::Type(_) => {
                return Err(Complaint::Refused(format!("{global:?}")));
            }
        }
        Ok(())
    }

    /// Attributes of what lies on top: kept where it is a bag of values, dropped where a dict has some (`_metadata` of a
    /// state dict).
    fn build(&mut self, state: Value) -> Result<(), Complaint> {
        let count = match state {
            Value::Node(position) => match &self.nodes[position] {
                Node::Dict { items, .. } => items.len(),
                _ => 1,
            },
            _ => 1,
        };
        self.spend(count * size_of::<(Value, Value)>())?;
        let new = match state {
            Value::Node(position) => match &self.nodes[position] {
                Node::Dict { items, .. } => items.clone(),
                _ => vec![(Value::None, state)],
            },
            _ => vec![(Value::None, state)],
        };
        match self.top()? {
            Value::Node(position) => match &mut self.nodes[position] {
                Node::Dict { class: None, .. } => {}
                Node::Dict { items, .. } => items.extend(new),
                _ => return Err(Complaint::Refused("__setstate__ of a value".to_owned())),
            },
            Value::Global(global) => {
                return Err(Complaint::Refused(format!("__setstate__ of {global:?}")));
            }
            _ => return Err(Complaint::Refused("__setstate__ of a value".to_owned())),
        }
        Ok(())
    }

    /// A storage: ("storage", class, key, device, elements[, view]).
    fn storage(&mut self, id: Value) -> Result<(), Complaint> {
        let (kind, class, key, elements, view) = match *self.sequence(id)? {
            [kind, class, key, _, elements] => (kind, class, key, elements, Value::None),
            [kind, class, key, _, elements, view] => (kind, class, key, elements, view),
            _ => return Err(damaged("a reference to what is no storage")),
        };
        let (Some("storage"), Value::Global(Global::Storage(dtype)), Some(key)) =
            (text(&self.nodes, kind), class, text(&self.nodes, key))
        else {
            return Err(damaged("a reference to what is no storage"));
        };
        if view != Value::None {
            return Err(Complaint::Content {
                found: "a view of a storage, as PyTorch wrote before 0.4".to_owned(),
                expected: "whole storages: load and save it again with a newer PyTorch".to_owned(),
            });
        }
        let (key, elements) = (key.to_owned(), size(elements)?);
        self.spend(key.len())?;
        self.make(Node::Storage {
            dtype,
            key,
            elements,
        });
        Ok(())
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Complaint> {
    std::str::from_utf8(bytes).map_err(|_| damaged("text that is not UTF-8"))
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Complaint> {
    text.parse()
        .map_err(|_| damaged("a number of its pickle is none"))
}

fn pairs(values: &[Value]) -> Result<Vec<(Value, Value)>, Complaint> {
    let (pairs, rest) = values.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err(damaged("a key of its pickle has no value"))
    }
}

fn size(value: Value) -> Result<usize, Complaint> {
    match value {
        Value::Int(number) => {
            usize::try_from(number).map_err(|_| damaged(format!("{number} as a size")))
        }
        _ => Err(damaged("a size that is no number")),
    }
}

/// Two's complement, little-endian.
fn long(bytes: &[u8]) -> Result<i128, Complaint> {
    if bytes.len() > 16 {
        return Err(damaged("an integer of more than 128 bits"));
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 16];
    all[..bytes.len()].copy_from_slice(bytes);
    Ok(i128::from_le_bytes(all))
}
