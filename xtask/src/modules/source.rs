//! Which file of a crate uses which: each path in its code, without tests, is resolved to the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

/// The text of each file of a crate by its path below `src`, such as `http/error.rs`.
pub(crate) type Sources = BTreeMap<String, String>;

/// One file uses another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
    /// The path as written in the code.
    pub(crate) path: String,
}

/// The files that contain code, and the first use of each file by another.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) files: BTreeSet<String>,
    pub(crate) uses: Vec<Use>,
}

/// A path of a module or an item, without `crate` before it.
type Path = Vec<String>;

/// A module while it is read.
#[derive(Default)]
struct Module {
    file: String,
    /// The names of the items that it defines.
    items: BTreeSet<String>,
    /// The names that it imports, and their paths.
    names: BTreeMap<String, Path>,
    /// The modules that it imports completely.
    globs: Vec<Path>,
    /// The paths in its code: resolved, the line, and as written.
    named: Vec<(Path, usize, String)>,
}

/// Reads a crate, starting at its root.
pub(crate) fn read(sources: &Sources) -> Result<Code> {
    let root = ["lib.rs", "main.rs"].into_iter().find(|root| sources.contains_key(*root));
    let root = root.context("there is neither lib.rs nor main.rs")?;
    let mut reader = Reader { sources, modules: BTreeMap::new(), with_code: BTreeSet::new() };
    reader.read_file(root, Vec::new())?;
    Ok(reader.code())
}

struct Reader<'a> {
    sources: &'a Sources,
    modules: BTreeMap<Path, Module>,
    /// The files with code. The others only declare modules and re-export names.
    with_code: BTreeSet<String>,
}

impl Reader<'_> {
    fn read_file(&mut self, file: &str, module: Path) -> Result<()> {
        let text = self.sources.get(file).with_context(|| format!("there is no {file}"))?;
        let parsed = syn::parse_file(text).with_context(|| format!("cannot parse {file}"))?;
        self.read_items(file, &module, &parsed.items)
    }

    fn read_items(&mut self, file: &str, module: &Path, items: &[syn::Item]) -> Result<()> {
        let items: Vec<&syn::Item> = items.iter().filter(|item| !is_test(attributes(item))).collect();
        let mut reading = Module { file: file.to_owned(), ..Module::default() };
        // Modules come first, because paths may start with their names.
        for item in &items {
            if let syn::Item::Mod(child) = item {
                let name = child.ident.to_string();
                reading.names.insert(name.clone(), below(module, &name));
            }
        }
        for item in &items {
            if let syn::Item::Use(item) = item {
                reading.import(module, item);
            }
        }
        for item in &items {
            match item {
                syn::Item::Mod(child) => self.read_child(file, &below(module, &child.ident.to_string()), child)?,
                syn::Item::Use(_) => {}
                item => {
                    self.with_code.insert(file.to_owned());
                    reading.items.extend(names_of(item));
                    let mut paths = Paths { module, names: &reading.names, found: Vec::new() };
                    paths.visit_item(item);
                    reading.named.extend(paths.found);
                }
            }
        }
        self.modules.insert(module.clone(), reading);
        Ok(())
    }

    fn read_child(&mut self, file: &str, module: &Path, child: &syn::ItemMod) -> Result<()> {
        if let Some((_, items)) = &child.content {
            return self.read_items(file, module, items);
        }
        let place = module.join("/");
        let file = [format!("{place}.rs"), format!("{place}/mod.rs")];
        let found = file.iter().find(|file| self.sources.contains_key(*file));
        let found = found.with_context(|| format!("there is neither {} nor {}", file[0], file[1]))?;
        self.read_file(found, module.clone())
    }

    fn code(self) -> Code {
        let mut uses: BTreeMap<(String, String), Use> = BTreeMap::new();
        for module in self.modules.values().filter(|module| self.with_code.contains(&module.file)) {
            for (path, line, written) in &module.named {
                let Some(to) = self.file_of(path, 0).filter(|to| *to != module.file) else { continue };
                if self.with_code.contains(&to) {
                    let (from, path) = (module.file.clone(), written.clone());
                    let used = Use { from: from.clone(), to: to.clone(), line: *line, path };
                    uses.entry((from, to)).or_insert(used);
                }
            }
        }
        Code { files: self.with_code, uses: uses.into_values().collect() }
    }

    /// The file that defines the item of a path; none for a module, and for items of other crates.
    fn file_of(&self, path: &[String], depth: usize) -> Option<String> {
        // Imports that refer to each other in a cycle do not compile.
        if depth > 16 {
            return None;
        }
        let length = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]))?;
        let module = self.modules.get(&path[..length])?;
        let item = path.get(length)?;
        if module.items.contains(item) {
            return Some(module.file.clone());
        }
        if let Some(stands_for) = module.names.get(item) {
            let whole: Path = stands_for.iter().chain(&path[length + 1..]).cloned().collect();
            return self.file_of(&whole, depth + 1);
        }
        module.globs.iter().find_map(|glob| {
            let whole: Path = glob.iter().chain(&path[length..]).cloned().collect();
            self.file_of(&whole, depth + 1)
        })
    }
}

impl Module {
    fn import(&mut self, module: &Path, item: &syn::ItemUse) {
        let mut leaves = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut leaves);
        for leaf in leaves {
            let Some(path) = absolute(module, &self.names, &leaf.path) else { continue };
            if let Some(name) = leaf.name {
                self.names.insert(name, path.clone());
                self.named.push((path, leaf.line, format!("use {}", leaf.path.join("::"))));
            } else {
                self.globs.push(path);
            }
        }
    }
}

/// One name of a `use` declaration.
struct Leaf {
    path: Path,
    /// Its name in this module; none for a glob import.
    name: Option<String>,
    line: usize,
}

fn flatten(tree: &syn::UseTree, above: &mut Path, leaves: &mut Vec<Leaf>) {
    let line = tree.span().start().line;
    let mut leaf = |ident: &syn::Ident, name: Option<String>| {
        let mut path = above.clone();
        // `self` in braces stands for the path before them.
        if ident != "self" || path.is_empty() {
            path.push(ident.to_string());
        }
        let name = name.or_else(|| path.last().cloned());
        leaves.push(Leaf { path, name, line });
    };
    match tree {
        syn::UseTree::Name(name) => leaf(&name.ident, None),
        syn::UseTree::Rename(rename) => leaf(&rename.ident, Some(rename.rename.to_string())),
        syn::UseTree::Glob(_) => leaves.push(Leaf { path: above.clone(), name: None, line }),
        syn::UseTree::Path(path) => {
            above.push(path.ident.to_string());
            flatten(&path.tree, above, leaves);
            above.pop();
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, above, leaves)),
    }
}

/// The paths in the code of an item.
struct Paths<'a> {
    module: &'a Path,
    names: &'a BTreeMap<String, Path>,
    found: Vec<(Path, usize, String)>,
}

impl Paths<'_> {
    fn add(&mut self, written: &[String], line: usize) {
        if written.len() < 2 {
            return;
        }
        if let Some(path) = absolute(self.module, self.names, written) {
            self.found.push((path, line, written.join("::")));
        }
    }

    /// The arguments of a macro are tokens; whatever looks like a path counts as one.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut line, mut colons) = (Path::new(), 0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add(&std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                _ => colons = 0,
            }
        }
        self.add(&path, line);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Path = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&written, path.span().start().line);
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.add_tokens(called.tokens.clone());
        syn::visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
    }

    /// A `use` declaration inside a function.
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut leaves = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut leaves);
        leaves.iter().for_each(|leaf| self.add(&leaf.path, leaf.line));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
}

/// The path from the root of the crate; none for paths into other crates.
fn absolute(module: &Path, names: &BTreeMap<String, Path>, written: &[String]) -> Option<Path> {
    let (first, mut rest) = written.split_first()?;
    let mut path = match first.as_str() {
        "crate" => Path::new(),
        "self" => module.clone(),
        "super" => module.split_last()?.1.to_vec(),
        name => names.get(name)?.clone(),
    };
    while rest.first().is_some_and(|next| next == "super") {
        path.pop();
        rest = &rest[1..];
    }
    path.extend_from_slice(rest);
    Some(path)
}

fn below(module: &Path, name: &str) -> Path {
    let mut path = module.clone();
    path.push(name.to_owned());
    path
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        syn::Meta::NameValue(_) => false,
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The names that an item defines. Of the invocation of a macro, these are all identifiers in it: it may define any.
fn names_of(item: &syn::Item) -> Vec<String> {
    let ident = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(syn::ItemMacro { ident: Some(ident), .. }) => ident,
        syn::Item::Macro(item) => {
            let idents = item.mac.tokens.clone().into_iter().filter_map(|token| match token {
                proc_macro2::TokenTree::Ident(ident) => Some(ident.to_string()),
                _ => None,
            });
            return idents.collect();
        }
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        _ => return Vec::new(),
    };
    vec![ident.to_string()]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A crate that consists of these files.
    pub(crate) fn sources(files: &[(&str, &str)]) -> Sources {
        files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
    }

    /// The uses in such a crate, as `from > to`.
    fn uses(files: &[(&str, &str)]) -> Vec<String> {
        let code = read(&sources(files)).unwrap();
        code.uses.iter().map(|used| format!("{} > {}", used.from, used.to)).collect()
    }

    #[test]
    fn a_name_that_a_macro_defines_is_in_the_file_of_its_invocation() {
        let found = uses(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::Thing; fn f(_: Thing) {}"),
            (
                "b.rs",
                "macro_rules! parts { ($($name:ident,)*) => { $(pub struct $name;)* }; } parts! { Other, Thing, }",
            ),
        ]);
        assert_eq!(found, ["a.rs > b.rs"]);
    }

    #[test]
    fn a_re_exported_name_leads_to_the_file_that_defines_it() {
        let found = uses(&[
            ("lib.rs", "mod a; mod b; pub use b::*;"),
            ("a.rs", "use crate::Thing; fn f(_: Thing) {}"),
            ("b/mod.rs", "mod inner; pub use inner::Thing;"),
            ("b/inner.rs", "pub struct Thing;"),
        ]);
        assert_eq!(found, ["a.rs > b/inner.rs"]);
    }

    #[test]
    fn paths_in_expressions_macros_and_functions_count() {
        let found = uses(&[
            ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
            ("a.rs", "fn f() { crate::b::g(); }"),
            ("b.rs", "use crate::c; pub fn g() { print!(\"{}\", c::h()) }"),
            ("c.rs", "pub fn h() { use super::d::i; i() }"),
            ("d.rs", "use crate::{e::{self, X as Y}}; pub fn i() { e::j(Y) }"),
            ("e.rs", "pub struct X; pub fn j(_: X) {}"),
        ]);
        assert_eq!(found, ["a.rs > b.rs", "b.rs > c.rs", "c.rs > d.rs", "d.rs > e.rs"]);
    }

    #[test]
    fn tests_and_files_that_only_declare_do_not_count() {
        let found = uses(&[
            ("lib.rs", "mod a; mod b; pub use a::f;"),
            ("a.rs", "pub fn f() {} #[cfg(test)] mod tests { use crate::b::g; }"),
            ("b/mod.rs", "mod c; pub use self::c::g;"),
            ("b/c.rs", "pub fn g() {}"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_module_with_children_and_code_is_a_file_like_others() {
        let found = uses(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod child; pub fn f() { child::g() }"),
            ("a/child.rs", "pub fn g() { super::f() }"),
        ]);
        assert_eq!(found, ["a.rs > a/child.rs", "a/child.rs > a.rs"]);
    }
}
