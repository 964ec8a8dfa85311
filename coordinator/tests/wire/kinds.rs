use std::collections::{BTreeMap, BTreeSet};

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// The protocol as its own description tells it: every method, and every arm of every `oneof`.
pub(crate) struct Protocol {
    messages: BTreeMap<String, DescriptorProto>,
    /// By path: names of the messages that go in and come out.
    methods: BTreeMap<String, (String, String)>,
}

impl Protocol {
    pub(crate) fn read() -> Self {
        let files: FileDescriptorSet = prost::Message::decode(proto::v1::DESCRIPTORS).unwrap();
        let (mut messages, mut methods) = (BTreeMap::new(), BTreeMap::new());
        for file in files.file {
            let package = file.package().to_owned();
            for message in file.message_type {
                messages.insert(format!(".{package}.{}", message.name()), message);
            }
            for service in file.service {
                for method in &service.method {
                    let path = format!("/{package}.{}/{}", service.name(), method.name());
                    let ends = (
                        method.input_type().to_owned(),
                        method.output_type().to_owned(),
                    );
                    methods.insert(path, ends);
                }
            }
        }
        Self { messages, methods }
    }

    /// Everything that can be said: `Workers.Attach`, `FromWorker.hello` and so on.
    pub(crate) fn kinds(&self) -> BTreeSet<String> {
        let methods = self.methods.keys().map(|path| method(path));
        let arms = self.messages.values().flat_map(|message| {
            message
                .field
                .iter()
                .filter(|field| is_arm(field))
                .map(|field| arm(message, field))
        });
        methods.chain(arms).collect()
    }

    /// What a request of this method says.
    pub(crate) fn of_request(&self, path: &str, bytes: &[u8]) -> BTreeSet<String> {
        let mut kinds = self.arms(&self.methods[path].0, bytes);
        kinds.insert(method(path));
        kinds
    }

    /// What its answer says.
    pub(crate) fn of_answer(&self, path: &str, bytes: &[u8]) -> BTreeSet<String> {
        self.arms(&self.methods[path].1, bytes)
    }

    fn arms(&self, name: &str, mut bytes: &[u8]) -> BTreeSet<String> {
        let message = &self.messages[name];
        let mut found = BTreeSet::new();
        while !bytes.is_empty() {
            let (number, content) = next_field(&mut bytes);
            let field = message.field.iter().find(|field| field.number() == number);
            let Some(field) = field.filter(|field| is_arm(field)) else {
                continue;
            };
            found.insert(arm(message, field));
            if field.r#type() == Type::Message {
                found.extend(self.arms(field.type_name(), content));
            }
        }
        found
    }
}

fn method(path: &str) -> String {
    let (service, method) = path.rsplit_once('/').unwrap();
    format!("{}.{method}", service.rsplit('.').next().unwrap())
}

fn arm(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    format!("{}.{}", message.name(), field.name())
}

/// `optional` is a `oneof` only to the compiler.
fn is_arm(field: &FieldDescriptorProto) -> bool {
    field.oneof_index.is_some() && !field.proto3_optional()
}

/// The number of the next field, and its bytes if it has a length.
fn next_field<'a>(bytes: &mut &'a [u8]) -> (i32, &'a [u8]) {
    let tag = prost::encoding::decode_varint(bytes).unwrap();
    let length = match tag & 7 {
        0 => {
            prost::encoding::decode_varint(bytes).unwrap();
            0
        }
        1 => 8,
        5 => 4,
        _ => usize::try_from(prost::encoding::decode_varint(bytes).unwrap()).unwrap(),
    };
    let (content, rest) = bytes.split_at(length);
    *bytes = rest;
    (i32::try_from(tag >> 3).unwrap(), content)
}
