-- Setup and keys. Neovim 0.12 shows suggestions by itself (`vim.lsp.inline_completion`); 0.11 needs `mellum_lsp.inline`.

local suggestion = require('mellum_lsp.suggestion')

local M = {}

---@alias mellum_lsp.Part 'all'|'line'|'word'

---@class mellum_lsp.Options
---@field server? vim.lsp.Config what to change of `lsp/mellum.lua`: the command, file types, settings
---@field keys? table<mellum_lsp.Part|'next'|'previous', string|false> keys in insert mode, or false for none
local defaults = {
  server = {},
  keys = { all = '<Tab>', line = '<M-C-Right>', word = '<M-Right>', next = '<M-n>', previous = '<M-p>' },
}

local function inline_completion()
  return vim.lsp.inline_completion or require('mellum_lsp.inline')
end

--- Accept the suggestion that is shown, or its next line or word. The text arrives right after, so that this may be
--- called by an <expr> mapping.
---@param part? mellum_lsp.Part
---@param otherwise? fun() what to do if it turns out that the suggestion no longer fits the text
---@return boolean accepted false if no suggestion is shown
function M.accept(part, otherwise)
  return inline_completion().get({
    on_accept = function(item)
      if type(item.insert_text) ~= 'string' then
        return item -- a snippet of another server
      end
      if not suggestion.insert(item, part or 'all') and otherwise then
        otherwise()
      end
    end,
  })
end

--- Show the next candidate, or the `count`th after this one.
---@param count? integer
function M.select(count)
  inline_completion().select({ count = count or 1 })
end

--- A few letters for the statusline: nothing without a server, Mellum… while it loads, Mellum! if something is wrong.
---@return string
function M.statusline()
  return require('mellum_lsp.status').statusline()
end

--- Map `key` to accept `part`; without a suggestion, it does what it did before.
---@param key string
---@param part mellum_lsp.Part
local function map(key, part)
  local before = vim.fn.maparg(key, 'i', false, true)
  local function unmapped()
    vim.api.nvim_feedkeys(vim.keycode(key), 'ni', false)
  end
  vim.keymap.set('i', key, function()
    if M.accept(part, unmapped) then
      return ''
    end
    -- Neovim's own <Tab> is such a mapping: it jumps in a snippet.
    return before.expr == 1 and before.callback and before.callback() or key
  end, { expr = true, desc = 'Accept the suggestion: ' .. part })
end

--- Start the server with the files it knows, show its suggestions, and map the keys.
---@param options? mellum_lsp.Options
function M.setup(options)
  options = vim.tbl_deep_extend('force', defaults, options or {})
  vim.lsp.config('mellum', options.server)
  vim.lsp.enable('mellum')
  suggestion.watch()
  inline_completion().enable()
  require('mellum_lsp.command').define()
  for part, key in pairs(options.keys) do
    if key and (part == 'next' or part == 'previous') then
      vim.keymap.set('i', key, function()
        M.select(part == 'next' and 1 or -1)
      end, { desc = 'Show the ' .. part .. ' suggestion' })
    elseif key then
      map(key, part)
    end
  end
end

return M
