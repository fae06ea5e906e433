;;; mellum.el --- Grey text from a local code model  -*- lexical-binding: t; -*-

;; Author: The mellum-lsp authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: convenience, languages, tools
;; URL: https://github.com/mellum-lsp/mellum-lsp
;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Shows completions of the language server `mellum-lsp' as grey text after
;; point.  The model runs inside that server, on this machine.
;;
;;   (require 'mellum)
;;   (add-hook 'prog-mode-hook #'mellum-mode)
;;
;; While grey text is shown, TAB accepts all of it, M-<right> a word, M-e a
;; line, M-n and M-p go to other candidates, and C-g takes it away.  Without
;; grey text, these keys do what they always did.  `mellum-complete' asks for
;; a suggestion at once, `mellum-toggle' switches everything off and on.
;;
;; Eglot manages one server for a buffer, and that is the server of the
;; language.  So this package has a connection of its own, one for all
;; buffers, and lives beside Eglot or lsp-mode: the model is in memory once.

;;; Code:

(require 'cl-lib)
(require 'jsonrpc)
(require 'seq)
(require 'subr-x)
(require 'mellum-connection)
(require 'mellum-document)
(require 'mellum-overlay)
(require 'mellum-request)

(defvar mellum-mode)
(defvar-local mellum--last-tick nil "State of the text after the last command.")

(defvar mellum-suggestion-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "TAB") #'mellum-accept)
    (define-key map (kbd "<tab>") #'mellum-accept)
    (define-key map (kbd "M-<right>") #'mellum-accept-word)
    (define-key map (kbd "M-e") #'mellum-accept-line)
    (define-key map (kbd "M-n") #'mellum-next)
    (define-key map (kbd "M-p") #'mellum-previous)
    (define-key map (kbd "C-g") #'mellum-dismiss)
    map)
  "Keys while grey text is shown.")

(defvar mellum--emulation-alist `((mellum--showing . ,mellum-suggestion-map))
  "To put `mellum-suggestion-map' before the maps of minor modes.")


;;; Following the user

(defun mellum--after-command ()
  "Follow what the user does: type on, move away, or type something else."
  (with-demoted-errors "Mellum: %S"
    (let* ((tick (buffer-chars-modified-tick))
           (changed (not (eql tick mellum--last-tick))))
      (setq mellum--last-tick tick)
      (unless (memq this-command '(mellum-accept mellum-accept-word mellum-accept-line
                                   mellum-next mellum-previous mellum-complete))
        (unless (and mellum--showing
                     (mellum--wanted-p)
                     (if changed (mellum--follow) (= (point) mellum--at)))
          (mellum--hide))
        (cond ((and changed (not (memq this-command '(undo undo-only undo-redo))))
               (mellum--schedule))
              ((not mellum--showing)
               (mellum--cancel)))))))

(defun mellum--menu-opened (&rest _)
  "Make room for a completion menu."
  (when mellum-mode
    (mellum--dismiss)))

(defun mellum--window-left (window)
  "Take the grey text away from WINDOW where another one was selected."
  (unless (eq window (selected-window))
    (with-current-buffer (window-buffer window)
      (mellum--dismiss))))


;;; Commands

(defun mellum--report (command)
  "Tell the server that the item with COMMAND was accepted."
  (when (and command mellum--connection)
    (jsonrpc-async-request mellum--connection :workspace/executeCommand
                           (list :command (plist-get command :command)
                                 :arguments (or (plist-get command :arguments) []))
                           :success-fn #'ignore :error-fn #'ignore :timeout-fn #'ignore)))

(defun mellum--utf-16-length (text)
  "Return how many UTF-16 units TEXT has."
  (/ (length (encode-coding-string text 'utf-16le)) 2))

(defun mellum--insert (pattern)
  "Accept what matches PATTERN at the beginning of the grey text, or all of it."
  (unless mellum--showing
    (user-error "There is no suggestion"))
  (pcase-let* ((`(,text ,end ,command ,item) (nth mellum--index mellum--items))
               (part (if (and pattern (string-match pattern text)) (match-string 0 text) text))
               (items mellum--items))
    (mellum--hide)
    (undo-boundary)
    (when (string= part text)
      (delete-region (point) (max (point) end)))
    (insert part)
    (undo-boundary)
    (mellum--flush)
    (if (string= part text)
        (progn (mellum--report command)
               (mellum--schedule))
      (let ((whole (plist-get item :insertText)))
        (mellum--notify
         :textDocument/didPartiallyAcceptCompletion
         (list :item item
               :acceptedLength (mellum--utf-16-length
                                (substring whole 0 (- (length part) (length text)))))))
      (setq mellum--items
            (cl-loop for (other . rest) in items
                     when (and (string-prefix-p part other) (not (string= part other)))
                     collect (cons (substring other (length part)) rest))
            mellum--index (mellum--index-of item mellum--items))
      (mellum--show))))

;;;###autoload
(defun mellum-complete ()
  "Ask for a suggestion at point now, however unsure the model is."
  (interactive)
  (unless mellum-mode
    (mellum-mode 1))
  (mellum--cancel)
  (mellum--ask 1))

(defun mellum-accept ()
  "Accept all of the grey text."
  (interactive)
  (mellum--insert nil))

(defun mellum-accept-word ()
  "Accept the next word of the grey text, and what stands before it."
  (interactive)
  (mellum--insert "\\`[^[:alnum:]_]*[[:alnum:]_]+"))

(defun mellum-accept-line ()
  "Accept the next line of the grey text."
  (interactive)
  (mellum--insert "\\`\n?[^\n]*"))

(defun mellum-next (&optional count)
  "Show the next candidate, or the COUNTth after the current one.
Where there is only one, ask for more."
  (interactive "p")
  (unless mellum--showing
    (user-error "There is no suggestion"))
  (if (cdr mellum--items)
      (progn
        (setq mellum--index (mod (+ mellum--index (or count 1)) (length mellum--items)))
        (mellum--show)
        (mellum--notify :textDocument/didShowCompletion
                        (list :item (nth 3 (nth mellum--index mellum--items)))))
    (mellum--cancel)
    (mellum--ask 1 (caar mellum--items))))

(defun mellum-previous (&optional count)
  "Show the previous candidate, or the COUNTth before the current one."
  (interactive "p")
  (mellum-next (- (or count 1))))

(defun mellum-dismiss ()
  "Take the grey text away."
  (interactive)
  (when mellum--showing
    (mellum--notify :textDocument/didDismissCompletion
                    (list :item (nth 3 (nth mellum--index mellum--items)))))
  (mellum--dismiss))

(defun mellum-toggle ()
  "Switch grey text off or on in all buffers; off ends the server, too."
  (interactive)
  (setq mellum--off (not mellum--off)
        mellum--failures 0)
  (if mellum--off
      (mellum-stop)
    (when mellum-mode
      (mellum--connect)))
  (force-mode-line-update t)
  (message "Mellum: %s" (if mellum--off "off" "on")))

(defun mellum-context ()
  "Show the prompt of a suggestion at point, and where each part of it comes from."
  (interactive)
  (unless buffer-file-name
    (user-error "This buffer has no file"))
  (when (and (buffer-modified-p) (y-or-n-p "The prompt is made from the file; save it? "))
    (save-buffer))
  (let* ((position (mellum--position (point)))
         (place (format "%s:%d:%d" buffer-file-name
                        (1+ (plist-get position :line)) (1+ (plist-get position :character))))
         (program (seq-take-while (lambda (word) (not (equal word "serve"))) mellum-server-command)))
    (async-shell-command
     (mapconcat #'shell-quote-argument (append program (list "context" place)) " ")
     "*mellum context*")))

(defun mellum--lighter ()
  "Return the text for the mode line."
  (if mellum--off
      " Mellum-off"
    (pcase (plist-get mellum--status :state)
      ("ready" " Mellum")
      ("disabled" " Mellum-off")
      ((or 'nil "loading") " Mellum…")
      (_ " Mellum!"))))

(defconst mellum--hooks
  '((before-change-functions . mellum--before-change)
    (after-change-functions . mellum--after-change)
    (post-command-hook . mellum--after-command)
    (after-save-hook . mellum--saved)
    (kill-buffer-hook . mellum--leave)
    (change-major-mode-hook . mellum--leave)
    (completion-in-region-mode-hook . mellum--menu-opened)
    (company-completion-started-hook . mellum--menu-opened)
    (window-selection-change-functions . mellum--window-left))
  "What `mellum-mode' does on which hook of its buffer.")

(defun mellum--leave ()
  "Take the grey text from this buffer, and this buffer from the server."
  (mellum--dismiss)
  (mellum--close))

;;;###autoload
(define-minor-mode mellum-mode
  "Show completions of a local code model as grey text."
  :lighter (:eval (mellum--lighter))
  (pcase-dolist (`(,hook . ,function) mellum--hooks)
    (if mellum-mode
        (add-hook hook function nil t)
      (remove-hook hook function t)))
  (if (not mellum-mode)
      (mellum--leave)
    (add-to-list 'emulation-mode-map-alists 'mellum--emulation-alist)
    (setq mellum--last-tick (buffer-chars-modified-tick))
    (mellum--connect)
    (mellum--open)))

(provide 'mellum)
;;; mellum.el ends here
