(struct_item name: (_) @name) @definition.class
(enum_item name: (_) @name) @definition.enum
(union_item name: (_) @name) @definition.class
(trait_item name: (_) @name) @definition.interface
(type_item name: (_) @name) @definition.type
(mod_item name: (_) @name body: (_)) @definition.module
(function_item name: (_) @name) @definition.function
(function_signature_item name: (_) @name) @definition.function
(macro_definition name: (_) @name) @definition.macro
(const_item name: (_) @name) @definition.constant
(static_item name: (_) @name) @definition.constant
(field_declaration name: (_) @name) @definition.field
(enum_variant name: (_) @name) @definition.constant

(impl_item type: [(type_identifier) @name (generic_type type: (type_identifier) @name)]) @scope

[(use_declaration) (mod_item !body) (extern_crate_declaration)] @import
