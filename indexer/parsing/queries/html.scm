((element (start_tag (attribute (attribute_name) @_id (quoted_attribute_value (attribute_value) @name))))
  @definition.field (#eq? @_id "id"))

((start_tag (attribute (attribute_name) @_source)) @import (#match? @_source "^(src|href)$"))
