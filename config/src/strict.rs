//! A serde deserializer over parsed TOML that knows where everything stands and overlooks nothing.
//!
//! serde hands a deserializer the names of a struct's fields, so unknown keys are found here, with their
//! place and all of them at once, without an attribute on the type. Two kinds of type hide their fields:
//! internally tagged enums and flattened structs, whose tables serde buffers first. Their tables are noted in
//! [`Tracker::hidden`]; the module `ignored` finds out which of their keys nobody read.

use std::cell::RefCell;
use std::ops::Range;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::fault::{Fault, unknown_key};
use crate::location::{Value, join};

/// What one pass over a document collects.
#[derive(Default)]
pub(crate) struct Tracker {
    /// Unknown keys, as sentences with their places.
    pub(crate) unknown: RefCell<Vec<Fault>>,
    /// Spans of the keys in tables whose field names serde did not give.
    pub(crate) hidden: RefCell<Vec<HiddenKey>>,
    /// The key whose value is replaced by one that nothing can read.
    pub(crate) poisoned: Option<Range<usize>>,
}

/// A key of which it is not known yet whether somebody reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HiddenKey {
    pub(crate) span: Range<usize>,
    pub(crate) name: String,
    /// Dotted path of the table it stands in.
    pub(crate) path: String,
}

/// One value to deserialize.
pub(crate) struct Strict<'a, 'i> {
    pub(crate) value: &'a Value<'i>,
    pub(crate) path: String,
    pub(crate) tracker: &'a Tracker,
}

impl<'a, 'i> Strict<'a, 'i> {
    /// Reads this value. A type that serde buffers is read out of the buffer after this deserializer has done
    /// its part, so the place is added here, around the whole of it.
    pub(crate) fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let (value, path) = (self.value, self.path.clone());
        seed.deserialize(self)
            .map_err(|fault| fault.located(value, &path))
    }

    fn below(&self, value: &'a Value<'i>, path: String) -> Self {
        Self {
            value,
            path,
            tracker: self.tracker,
        }
    }

    /// Visits a table, refusing what is not among `known`.
    fn visit_table<'de, V: Visitor<'de>>(
        &self,
        table: &'a DeTable<'i>,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_map(Table {
            parent: self,
            entries: table.iter(),
            known,
            next: None,
        })
    }

    fn visit_any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match self.value.get_ref() {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Boolean(truth) => visitor.visit_bool(*truth),
            DeValue::Datetime(at) => visitor.visit_string(at.to_string()),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                if let Ok(number) = i64::from_str_radix(digits, radix) {
                    visitor.visit_i64(number)
                } else if let Ok(number) = u64::from_str_radix(digits, radix) {
                    visitor.visit_u64(number)
                } else {
                    Err(Fault::custom("the number is too large"))
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(Fault::custom("the number cannot be read")),
            },
            DeValue::Array(items) => visitor.visit_seq(Items {
                parent: self,
                items: items.iter().enumerate(),
            }),
            DeValue::Table(table) => self.visit_table(table, None, visitor),
        }
    }

    /// Notes every key at or below this value as one whose reader is unknown.
    fn note_hidden(&self) {
        let mut hidden = self.tracker.hidden.borrow_mut();
        note_keys(self.value.get_ref(), &self.path, &mut hidden);
    }

    /// Notes the keys of this table alone.
    fn note_hidden_here(&self) {
        let mut hidden = self.tracker.hidden.borrow_mut();
        for (key, _) in self.value.get_ref().as_table().into_iter().flatten() {
            hidden.push(hidden_key(key, &self.path));
        }
    }
}

fn note_keys(value: &DeValue<'_>, path: &str, hidden: &mut Vec<HiddenKey>) {
    match value {
        DeValue::Table(table) => {
            for (key, below) in table {
                hidden.push(hidden_key(key, path));
                note_keys(below.get_ref(), &join(path, key.get_ref()), hidden);
            }
        }
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                note_keys(item.get_ref(), &format!("{path}[{index}]"), hidden);
            }
        }
        _ => {}
    }
}

fn hidden_key(key: &Spanned<DeString<'_>>, path: &str) -> HiddenKey {
    HiddenKey {
        span: key.span(),
        name: key.get_ref().to_string(),
        path: path.to_owned(),
    }
}

impl<'de> Deserializer<'de> for Strict<'_, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.note_hidden();
        self.visit_any(visitor)
            .map_err(|fault| fault.located(self.value, &self.path))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.note_hidden_here();
        self.visit_any(visitor)
            .map_err(|fault| fault.located(self.value, &self.path))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value.get_ref() {
            DeValue::Table(table) => self.visit_table(table, Some(fields), visitor),
            _ => self.visit_any(visitor),
        }
        .map_err(|fault| fault.located(self.value, &self.path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (value, path) = (self.value, self.path.clone());
        let entry = value.get_ref().as_table().filter(|table| table.len() == 1);
        match (value.get_ref(), entry.and_then(|table| table.iter().next())) {
            (DeValue::String(word), _) => {
                let word: &str = word;
                visitor.visit_enum(word.into_deserializer())
            }
            (_, Some((key, content))) => visitor.visit_enum(Variant {
                key,
                content: self.below(content, join(&self.path, key.get_ref())),
            }),
            (DeValue::Table(_), None) => Err(Fault::custom("exactly one key is expected in it")),
            _ => self.visit_any(visitor),
        }
        .map_err(|fault| fault.located(value, &path))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_any(visitor)
            .map_err(|fault| fault.located(self.value, &self.path))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct identifier
    }
}

/// The entries of a table, in turn.
struct Table<'p, 'a, 'i, I> {
    parent: &'p Strict<'a, 'i>,
    entries: I,
    known: Option<&'static [&'static str]>,
    next: Option<(&'a Spanned<DeString<'i>>, &'a Value<'i>)>,
}

impl<'de, 'a, 'i: 'a, I> MapAccess<'de> for Table<'_, 'a, 'i, I>
where
    I: Iterator<Item = (&'a Spanned<DeString<'i>>, &'a Value<'i>)>,
{
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        for (key, value) in self.entries.by_ref() {
            let name: &str = key.get_ref();
            if let Some(known) = self.known.filter(|known| !known.contains(&name)) {
                let sentence = unknown_key(name, &self.parent.path, known);
                let fault = Fault::said(sentence, key.span());
                self.parent.tracker.unknown.borrow_mut().push(fault);
                continue;
            }
            self.next = Some((key, value));
            return seed.deserialize(name.into_deserializer()).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((key, value)) = self.next.take() else {
            return Err(Fault::custom("a value was asked for before its key"));
        };
        if self.parent.tracker.poisoned.as_ref() == Some(&key.span()) {
            return seed.deserialize(Poison);
        }
        let path = join(&self.parent.path, key.get_ref());
        self.parent.below(value, path).read(seed)
    }
}

/// The items of an array, in turn.
struct Items<'p, 'a, 'i, I> {
    parent: &'p Strict<'a, 'i>,
    items: I,
}

impl<'de, 'a, 'i: 'a, I> SeqAccess<'de> for Items<'_, 'a, 'i, I>
where
    I: Iterator<Item = (usize, &'a Value<'i>)>,
{
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((index, value)) = self.items.next() else {
            return Ok(None);
        };
        let path = format!("{}[{index}]", self.parent.path);
        self.parent.below(value, path).read(seed).map(Some)
    }
}

/// A table with one key, which chooses the variant of an enum.
struct Variant<'a, 'i> {
    key: &'a Spanned<DeString<'i>>,
    content: Strict<'a, 'i>,
}

impl<'de, 'a, 'i> EnumAccess<'de> for Variant<'a, 'i> {
    type Error = Fault;
    type Variant = Strict<'a, 'i>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Fault> {
        let name: &str = self.key.get_ref();
        let place = self.key.span();
        let chosen = seed
            .deserialize(name.into_deserializer())
            .map_err(|fault: Fault| {
                let (sentence, _) = fault.about(&self.content.path).into_parts();
                Fault::said(sentence, place)
            })?;
        Ok((chosen, self.content))
    }
}

impl<'de> VariantAccess<'de> for Strict<'_, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let fault = Fault::custom("nothing belongs to this word: write it alone, in quotes");
        Err(fault.located(self.value, &self.path))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_struct("", fields, visitor)
    }
}

/// A value that only somebody who ignores it can take: bytes that are not UTF-8.
struct Poison;

impl<'de> Deserializer<'de> for Poison {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bytes(&[0xff])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}
