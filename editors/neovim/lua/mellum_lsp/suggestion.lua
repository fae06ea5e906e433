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

local asked = {} ---@type table<integer, string> what stood after the cursor at each request that is under way
local after ---@type string? what stood there when the last answer was asked for

local function text_after()
  local _, column = M.cursor()
  return api.nvim_get_current_line():sub(column + 1)
end

--- Note what stands after the cursor at each request, so that what a plugin for pairs adds there is known.
function M.watch()
  api.nvim_create_autocmd('LspRequest', {
    group = api.nvim_create_augroup('mellum_lsp.suggestion', {}),
    callback = function(event)
      local data = event.data
      if data.request.method ~= 'textDocument/inlineCompletion' then
        return
      elseif data.request.type == 'pending' then
        asked[data.request_id] = text_after()
      else
        after = data.request.type == 'complete' and asked[data.request_id] or after
        asked[data.request_id] = nil
      end
    end,
  })
end

--- How many bytes after the cursor came there since, all of them characters that `rest` brings, too: closed brackets.
---@param rest string
---@return integer
local function added(rest)
  local now = text_after()
  local more = after and vim.endswith(now, after) and now:sub(1, #now - #after) or ''
  local from = 1
  for character in more:gmatch('.') do
    local at = rest:find(character, from, true)
    if not at then
      return 0
    end
    from = at + 1
  end
  return #more
end

--- What is left of the suggestion after the cursor, when all that was typed agrees with it.
---@param item vim.lsp.inline_completion.Item
---@return string? rest nil if the text went another way
---@return integer end_row, integer end_column of the text after the cursor that it replaces
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
  local rest = item.insert_text:sub(#typed + 1)
  if before(end_row, end_column, row, column) then
    end_row, end_column = row, column + added(rest)
  end
  return rest, end_row, end_column
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

--- Tell the server how much of a suggestion was accepted.
---@param client vim.lsp.Client
---@param item vim.lsp.inline_completion.Item
---@param accepted string the beginning of its text
local function report_part(client, item, accepted)
  client:notify('textDocument/didPartiallyAcceptCompletion', {
    item = { insertText = item.insert_text, command = item.command },
    acceptedLength = vim.str_utfindex(accepted, 'utf-16'),
  })
end

--- Put the next part of the suggestion after the cursor, and tell the server that it was accepted.
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
  elseif item.command and client then
    report_part(client, item, item.insert_text:sub(1, #item.insert_text - #rest + #text))
  end
  return true
end

return M
