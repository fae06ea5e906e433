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

(defcustom mellum-idle-delay 0.05
  "Seconds without a key after which a suggestion is asked for.
With nil, only `mellum-complete' asks."
  :type '(choice (number :tag "Seconds") (const :tag "Only on demand" nil))
  :group 'mellum)

(defcustom mellum-hide-functions '(mellum-menu-is-open-p mellum-other-keys-p)
  "Functions of no argument; where one returns non-nil, no grey text is shown."
  :type '(repeat function)
  :group 'mellum)

(defvar mellum-mode)
(defvar-local mellum--last-tick nil "State of the text after the last command.")
(defvar-local mellum--timer nil "The timer that will ask.")
(defvar-local mellum--request nil "The number of the request that is under way.")
(defvar-local mellum--missed nil "Where a model that was still loading was asked.")

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


;;; Asking

(defun mellum-menu-is-open-p ()
  "Return non-nil where a completion menu is open."
  (or completion-in-region-mode
      (bound-and-true-p company-candidates)
      (bound-and-true-p corfu--candidates)))

(defun mellum-other-keys-p ()
  "Return non-nil where keys do not type one text: Evil states, many cursors."
  (or (bound-and-true-p multiple-cursors-mode)
      (and (bound-and-true-p evil-local-mode)
           (not (memq (bound-and-true-p evil-state) '(insert replace emacs))))))

(defun mellum--wanted-p ()
  "Return non-nil where grey text may be shown."
  (and mellum-mode
       (not mellum--off)
       (not buffer-read-only)
       (not (region-active-p))
       (not executing-kbd-macro)
       (eq (current-buffer) (window-buffer (selected-window)))
       (not (run-hook-with-args-until-success 'mellum-hide-functions))))

(defun mellum--cancel ()
  "Give up the request that is under way, and the one that is to come."
  (when (timerp mellum--timer)
    (cancel-timer mellum--timer)
    (setq mellum--timer nil))
  (when mellum--request
    (mellum--notify :$/cancelRequest (list :id mellum--request))
    (setq mellum--request nil)))

(defun mellum--schedule ()
  "Ask once no key was pressed for a moment."
  (mellum--cancel)
  (when mellum-idle-delay
    (let ((buffer (current-buffer)))
      (setq mellum--timer
            (run-at-time mellum-idle-delay nil
                         (lambda ()
                           (when (buffer-live-p buffer)
                             (with-current-buffer buffer
                               (setq mellum--timer nil)
                               (mellum--ask 2)))))))))

(defun mellum--ask (trigger &optional known)
  "Ask for suggestions at point; TRIGGER is 1 for a key, 2 for typing.
With KNOWN, the text of a candidate, show another one than that."
  (when (mellum--wanted-p)
    (mellum--connect)
    (mellum--flush)
    (let ((buffer (current-buffer)) (here (mellum--here)) (number nil))
      (setq mellum--missed (and (not (equal (plist-get mellum--status :state) "ready")) here))
      (when mellum--opened
        (setq number
              ;; the public function does not return the number, which it takes to cancel
              (car (jsonrpc--async-request-1
                    mellum--connection :textDocument/inlineCompletion
                    (list :textDocument (list :uri mellum--opened)
                          :position (mellum--position (point))
                          :context (list :triggerKind trigger))
                    :timeout 60
                    :success-fn (lambda (answer)
                                  (when (buffer-live-p buffer)
                                    (with-current-buffer buffer
                                      ;; what was cancelled may be answered all the same
                                      (when (and number (eql number mellum--request))
                                        (setq mellum--request nil)
                                        (when (equal here (mellum--here))
                                          (mellum--take answer (= trigger 1) known))))))
                    :error-fn #'ignore
                    :timeout-fn #'ignore))
              mellum--request number)))))

(defun mellum--take (answer is-explicit known)
  "Show the first item of ANSWER whose text is not KNOWN.
Say so where IS-EXPLICIT and there is none."
  (let* ((found (if (vectorp answer) answer (plist-get answer :items)))
         (items (delq nil (mapcar #'mellum--item found)))
         (index (cl-position known items :key #'car :test-not #'equal)))
    (cond ((not (mellum--wanted-p)) (mellum--hide))
          (items (setq mellum--items items
                       mellum--index (or index 0))
                 (mellum--show)
                 (mellum--notify :textDocument/didShowCompletion
                                 (list :item (nth 3 (nth mellum--index items))))
                 (unless index
                   (message "Mellum: there is no other suggestion")))
          (t (mellum--hide)
             (when is-explicit
               (mellum--say-why))))))

(defun mellum--say-why ()
  "Say why the server had nothing to show."
  (jsonrpc-async-request
   mellum--connection :mellum/status (make-hash-table)
   :success-fn (lambda (status)
                 (message "Mellum: %s" (or (plist-get (plist-get status :silence) :sentence)
                                           "nothing to suggest here")))
   :error-fn #'ignore
   :timeout-fn #'ignore))

(defun mellum--open-shown ()
  "Give the buffers that are on the screen to the server."
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (when (and mellum-mode (get-buffer-window buffer t))
        (mellum--open)))))

(defun mellum--ask-again ()
  "Ask for the selected buffer, where that was done before the model was loaded."
  (when (equal (plist-get mellum--status :state) "ready")
    (with-current-buffer (window-buffer (selected-window))
      (when (and mellum-mode (equal mellum--missed (mellum--here)))
        (mellum--ask 2)))))

(defun mellum--forget-buffers ()
  "Take all grey text away, and note that no server has any buffer."
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer
      (when mellum-mode
        (mellum--dismiss)
        (setq mellum--opened nil
              mellum--changes nil)))))

(add-hook 'mellum--ready-hook #'mellum--open-shown)
(add-hook 'mellum--status-hook #'mellum--ask-again)
(add-hook 'mellum--ended-hook #'mellum--forget-buffers)


;;; Following the user

(defun mellum--dismiss ()
  "Take the grey text away, and ask for no other."
  (mellum--cancel)
  (mellum--hide))

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
