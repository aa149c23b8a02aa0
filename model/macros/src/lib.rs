// SPDX-License-Identifier: GPL-2.0

//! Attributes. Only a crate of this kind can define any.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// In the kernel this notes which fields are pinned. Here it takes away the notes at the fields.
#[proc_macro_attribute]
pub fn pin_data(_: TokenStream, item: TokenStream) -> TokenStream {
    let without_notes = |tree| match tree {
        TokenTree::Group(fields) if fields.delimiter() == Delimiter::Brace => {
            let mut kept: Vec<TokenTree> = Vec::new();
            for tree in fields.stream() {
                let is_note = matches!(&tree, TokenTree::Group(it) if it.to_string() == "[pin]");
                if is_note {
                    kept.pop();
                } else {
                    kept.push(tree);
                }
            }
            Group::new(Delimiter::Brace, kept.into_iter().collect()).into()
        }
        other => other,
    };
    item.into_iter().map(without_notes).collect()
}
