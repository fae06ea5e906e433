-- A suggestion against the text it was made for: what of it is left to type, and how it goes into the buffer.
-- An item is what Neovim 0.12 hands to `on_accept`: insert_text, range, command, client_id.

local api = vim.api

local M = {}

---@return integer row, integer column of the cursor, both from zero, in bytes
function M.cursor()
  local row, column = unpack(api.nvim_win_get_cursor(0))
  return row - 1, column
end

local function before(row, column, other_row, other_column)
  return row < other_row or (row == other_row and column < other_column)
end

--- What is left of the suggestion behind the cursor, when all that was typed agrees with it.
---@param item vim.lsp.inline_completion.Item
---@return string? rest nil if the text went another way
---@return integer end_row, integer end_column of the text behind the cursor that it replaces
function M.rest(item)
  local row, column = M.cursor()
  if not item.range then
    return item.insert_text, row, column
  end
  local start_row, start_column, end_row, end_column = item.range:to_extmark()
  if before(row, column, start_row, start_column) then
    return nil, row, column
  end
  local typed = table.concat(api.nvim_buf_get_text(0, start_row, start_column, row, column, {}), '\n')
  if not vim.startswith(item.insert_text, typed) then
    return nil, row, column
  end
  if before(end_row, end_column, row, column) then
    end_row, end_column = row, column
  end
  return item.insert_text:sub(#typed + 1), end_row, end_column
end

--- The beginning of `text` that one key press accepts.
---@param text string
---@param part mellum_lsp.Part
---@return string
local function first(text, part)
  local found = text
  if part == 'line' then
    found = text:match('^\n?[^\n]*')
  elseif part == 'word' then
    found = vim.fn.matchstr(text, [[^\_s*\%(\k\+\|\%(\k\@!\S\)\+\)]])
  end
  return found ~= '' and found or text
end

--- Put the next part of the suggestion behind the cursor; with its last part, tell the server that it was accepted.
---@param item vim.lsp.inline_completion.Item
---@param part mellum_lsp.Part
---@return boolean inserted false if the suggestion no longer fits the text
function M.insert(item, part)
  local rest, end_row, end_column = M.rest(item)
  if not rest or rest == '' then
    return false
  end
  local row, column = M.cursor()
  local text = first(rest, part)
  if text ~= rest then
    end_row, end_column = row, column
  end
  local lines = vim.split(text, '\n')
  vim.go.undolevels = vim.go.undolevels -- `u` takes back the suggestion before what was typed
  api.nvim_buf_set_text(0, row, column, end_row, end_column, lines)
  api.nvim_win_set_cursor(0, { row + #lines, (#lines == 1 and column or 0) + #lines[#lines] })
  local client = vim.lsp.get_client_by_id(item.client_id)
  if text == rest and item.command and client then
    client:exec_cmd(item.command, { bufnr = api.nvim_get_current_buf() })
  end
  return true
end

return M
