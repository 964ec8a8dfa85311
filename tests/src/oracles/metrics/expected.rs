//! A file of expected values that keeps account of what was read of it: what nobody read was not compared.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::super::rows::Rows;

/// The file.
#[derive(Debug)]
pub(super) struct Expected {
    value: Value,
    /// Places of the values that were read; they do not move while the file is open.
    read: RefCell<HashSet<*const Value>>,
}

/// A value in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    value: &'a Value,
    read: &'a RefCell<HashSet<*const Value>>,
}

impl Expected {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON", path.display()))?;
        Ok(Self {
            value,
            read: RefCell::default(),
        })
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node {
            value: &self.value,
            read: &self.read,
        }
    }

    /// Notes everything that was not read, the largest parts by one name; the file's own is `name`.
    pub(super) fn report_unread(&self, name: &str, rows: &Rows) {
        let mut found = Vec::new();
        if self.untouched(&self.value, "", &mut found) {
            found.push(name.to_owned());
        }
        found.sort();
        for name in found {
            rows.not_compared(&name);
        }
    }

    /// Whether nothing of `value` was read; otherwise the parts that were not are added to `found`.
    fn untouched(&self, value: &Value, path: &str, found: &mut Vec<String>) -> bool {
        if self.read.borrow().contains(&std::ptr::from_ref(value)) {
            return false;
        }
        let below = |key: String| match path {
            "" => key,
            path => format!("{path}/{key}"),
        };
        let parts: Vec<(String, &Value)> = match value {
            Value::Object(map) => (map.iter())
                .map(|(key, part)| (below(key.clone()), part))
                .collect(),
            Value::Array(list) => (list.iter().enumerate())
                .map(|(place, part)| (below(place.to_string()), part))
                .collect(),
            _ => Vec::new(),
        };
        let mut inside = Vec::new();
        let mut left = Vec::new();
        for (path, part) in &parts {
            if self.untouched(part, path, &mut inside) {
                left.push(path.clone());
            }
        }
        if left.len() == parts.len() {
            return true;
        }
        found.append(&mut inside);
        found.append(&mut left);
        false
    }
}

impl<'a> Node<'a> {
    fn mark(self) -> &'a Value {
        self.read
            .borrow_mut()
            .insert(std::ptr::from_ref(self.value));
        self.value
    }

    fn at(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }

    /// The part of this name, which may be nothing.
    pub(super) fn get(self, key: &str) -> Self {
        self.at(&self.value[key])
    }

    pub(super) fn exists(self) -> bool {
        !self.value.is_null()
    }

    /// Whether it has named parts.
    pub(super) fn has_entries(self) -> bool {
        self.value.is_object()
    }

    /// Named parts.
    pub(super) fn entries(self) -> Result<Vec<(&'a str, Self)>> {
        let Some(map) = self.value.as_object() else {
            bail!("{} is no set of named entries", self.shown());
        };
        if map.is_empty() {
            self.mark();
        }
        Ok(map
            .iter()
            .map(|(key, value)| (key.as_str(), self.at(value)))
            .collect())
    }

    /// Parts of a list.
    pub(super) fn items(self) -> Result<Vec<Self>> {
        let Some(list) = self.value.as_array() else {
            bail!("{} is no list", self.shown());
        };
        if list.is_empty() {
            self.mark();
        }
        Ok(list.iter().map(|value| self.at(value)).collect())
    }

    /// A number, infinities as text.
    pub(super) fn number(self) -> Result<f64> {
        let number = match self.value.as_str() {
            Some("inf") => Some(f64::INFINITY),
            Some("-inf") => Some(f64::NEG_INFINITY),
            _ => self.value.as_f64(),
        };
        self.mark();
        number.with_context(|| format!("{} is no number", self.shown()))
    }

    /// A number or nothing.
    pub(super) fn number_or_none(self) -> Result<Option<f64>> {
        match self.value.is_null() {
            true => {
                self.mark();
                Ok(None)
            }
            false => self.number().map(Some),
        }
    }

    pub(super) fn numbers(self) -> Result<Vec<f64>> {
        self.items()?.into_iter().map(Self::number).collect()
    }

    pub(super) fn text(self) -> Result<&'a str> {
        (self.mark().as_str()).with_context(|| format!("{} is no text", self.shown()))
    }

    pub(super) fn texts(self) -> Result<Vec<String>> {
        self.items()?
            .into_iter()
            .map(|item| item.text().map(str::to_owned))
            .collect()
    }

    /// A switch, which may be left out.
    pub(super) fn is_true(self) -> bool {
        *self.mark() == Value::Bool(true)
    }

    /// Whether it is a switch that is off.
    pub(super) fn is_false(self) -> bool {
        *self.mark() == Value::Bool(false)
    }

    fn shown(self) -> String {
        self.value.to_string().chars().take(80).collect()
    }
}
